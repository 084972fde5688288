//! Every refusal, one check a file.
