//! Types, and values at their edges. `shape` and `measure` are a user's, made as those of extensions are.

/// A column, and values of it.
pub(super) const KINDS: &[(&str, &[&str])] = &[
    ("bytea", &["''", r"'\x'", r"'\x00'", r"'\x6100'", r"'\x0000ff'"]),
    (
        "date",
        &[
            "'infinity'",
            "'-infinity'",
            "'20000-01-01'",
            "'4713-01-01 BC'",
            "'0044-03-15 BC'",
        ],
    ),
    (
        "timestamp",
        &[
            "'infinity'",
            "'-infinity'",
            "'20000-12-31 23:59:59.999999'",
            "'0001-01-01 BC'",
        ],
    ),
    (
        "timestamptz",
        &[
            "'infinity'",
            "'20000-12-31 23:59:59.999999+14'",
            "'1900-01-01 00:00:00 Europe/Amsterdam'",
        ],
    ),
    ("time", &["'24:00'", "'00:00:00.000001'"]),
    ("timetz", &["'24:00+15:59:59'", "'00:00-15:59'"]),
    (
        "interval",
        &[
            "'1 mon -30 days'",
            "'-178000000 years'",
            "'1 day -24:00:00.000001'",
            "'24:00'",
            "'1 day'",
        ],
    ),
    (
        "float8",
        &[
            "'NaN'",
            "'-0'",
            "'0'",
            "'Infinity'",
            "'-Infinity'",
            "5e-324",
            "1.7976931348623157e308",
            "0.1",
        ],
    ),
    ("float4", &["'NaN'", "'-0'", "'-Infinity'", "1e-45", "0.1"]),
    (
        "numeric",
        &[
            "'NaN'",
            "1.0",
            "1.00",
            "0.000",
            "('1' || repeat('0', 999))::numeric",
            "('0.' || repeat('3', 900))::numeric",
            "'Infinity'",
            "'-Infinity'",
        ],
    ),
    ("numeric(1000, 500)", &["repeat('9', 500)::numeric", "0"]),
    ("bigint", &["-9223372036854775808", "9223372036854775807"]),
    ("smallint", &["-32768"]),
    ("money", &["'-92233720368547758.08'", "'0.01'"]),
    (
        "text",
        &[
            "''",
            "'0xab'",
            r"E'\\x00'",
            "' '",
            "'NULL'",
            r"E'tab\tline\nback\\slash'",
            "'é́🚀\u{200d}'",
        ],
    ),
    ("varchar(3)", &["'a  '", "''"]),
    ("char(5)", &["'a'", "'     '", "'é'"]),
    ("\"char\"", &["'x'", r"'\200'", "''"]),
    ("name", &["'a name'"]),
    ("bit(3)", &["B'101'", "B'000'"]),
    ("varbit", &["B''", "B'1'", "B'0000000001'"]),
    ("inet", &["'::1'", "'10.0.0.1/8'", "'10.0.0.1'"]),
    ("cidr", &["'10.0.0.0/8'", "'::/0'"]),
    ("macaddr", &["'08:00:2b:01:02:03'"]),
    ("uuid", &["'00000000-0000-0000-0000-000000000000'"]),
    ("json", &[r#"'{"a": 1,  "a": 1.0}'"#, "'null'", "'\"\"'"]),
    (
        "jsonb",
        &[
            "'1.0'",
            "'1.00'",
            "'{\"a\": [1e2, null, \"\\u00e9\"]}'",
            "'[]'",
            "'0.10'",
        ],
    ),
    ("jsonpath", &["'$.a[*] ? (@ > 1)'"]),
    (
        "xml",
        &[
            "'<a b=\"1\">x</a>'",
            "'text only'",
            "'<?xml version=\"1.0\"?><a/>'",
        ],
    ),
    ("tsvector", &["'a:1A fat:2B cat'", "''"]),
    ("tsquery", &["'a & (b | !c:*)'"]),
    ("point", &["'(NaN,-0)'", "'(1,2)'"]),
    ("polygon", &["'((0,0),(1,1),(1,0))'"]),
    ("circle", &["'<(1,1),0.5>'"]),
    ("int4range", &["'empty'", "'[1,5)'", "'(,)'", "'[,3]'"]),
    ("tstzrange", &["'[-infinity,infinity]'", "'(2000-01-01,)'"]),
    ("int8multirange", &["'{}'", "'{[1,2), [5,9)}'"]),
    (
        "integer[]",
        &["'{}'", "'{1,NULL,3}'", "'[2:3][0:1]={{1,2},{3,NULL}}'"],
    ),
    (
        "text[]",
        &["'{\"\",NULL,\"NULL\",\"a,b\",\"\\\"\"}'", "'{{a},{b}}'"],
    ),
    ("bytea[]", &[r#"'{"\\x00",""}'"#]),
    ("mood", &["'sad'", "'so-so'", "'not ''known''  é'"]),
    ("mood[]", &["'{sad,NULL}'"]),
    ("positive", &["7"]),
    (
        "pair",
        &["'(1,)'", "'(,\"\")'", "'(,)'", "ROW(1, 'a,b\"c')::pair"],
    ),
    ("pair[]", &["ARRAY[ROW(1, 'x'), NULL]::pair[]"]),
    ("citext", &["'MiXed'", "'mixed'"]),
    ("hstore", &["'a=>NULL, b=>\"\", \"\"=>1'", "''"]),
    ("shape", &[r"'\x0101000020e6100000'", r"'\x'", r"'\x00'"]),
    ("measure(6,2)", &["'1.5'", "'-1234.56'", "'NaN'"]),
    ("shape[]", &[r#"'{"\\x00",NULL}'"#]),
    ("oid", &["4294967295"]),
    ("regclass", &["'pg_class'"]),
    ("pg_lsn", &["'FFFFFFFF/FFFFFFFF'"]),
    ("xid8", &["'18446744073709551615'"]),
];

/// Types without a binary form: one of the server's and one of a user's.
pub(super) const TEXT_ONLY: &[(&str, &[&str])] = &[
    ("aclitem", &["'postgres=r/postgres'"]),
    ("spelled", &["'0xab'", "''", r"E'a\\b\n'"]),
];

pub(super) const TYPES: &str = "
CREATE EXTENSION citext; CREATE EXTENSION hstore;
CREATE TYPE mood AS ENUM ('sad', 'so-so', 'not ''known''  é');
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE TYPE pair AS (a integer, b text);
CREATE TYPE shape;
CREATE FUNCTION shape_in(cstring) RETURNS shape LANGUAGE internal IMMUTABLE STRICT AS 'byteain';
CREATE FUNCTION shape_out(shape) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'byteaout';
CREATE FUNCTION shape_recv(internal) RETURNS shape LANGUAGE internal IMMUTABLE STRICT AS 'bytearecv';
CREATE FUNCTION shape_send(shape) RETURNS bytea LANGUAGE internal IMMUTABLE STRICT AS 'byteasend';
CREATE TYPE shape (INPUT = shape_in, OUTPUT = shape_out, RECEIVE = shape_recv, SEND = shape_send, LIKE = bytea);
CREATE TYPE measure;
CREATE FUNCTION measure_in(cstring, oid, integer) RETURNS measure LANGUAGE internal IMMUTABLE STRICT AS 'numeric_in';
CREATE FUNCTION measure_out(measure) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'numeric_out';
CREATE FUNCTION measure_recv(internal, oid, integer) RETURNS measure LANGUAGE internal IMMUTABLE STRICT AS 'numeric_recv';
CREATE FUNCTION measure_send(measure) RETURNS bytea LANGUAGE internal IMMUTABLE STRICT AS 'numeric_send';
CREATE TYPE measure (INPUT = measure_in, OUTPUT = measure_out, RECEIVE = measure_recv, SEND = measure_send,
                     TYPMOD_IN = numerictypmodin, TYPMOD_OUT = numerictypmodout, LIKE = numeric);
CREATE FUNCTION measure(measure, integer) RETURNS measure LANGUAGE internal IMMUTABLE STRICT AS 'numeric';
CREATE CAST (measure AS measure) WITH FUNCTION measure(measure, integer) AS IMPLICIT;
CREATE TYPE spelled;
CREATE FUNCTION spelled_in(cstring) RETURNS spelled LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION spelled_out(spelled) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE TYPE spelled (INPUT = spelled_in, OUTPUT = spelled_out, LIKE = text);";
