//! From a change and the catalogs to a plan.
