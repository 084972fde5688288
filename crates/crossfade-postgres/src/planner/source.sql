-- The columns of the table $1 in order: what the stream carries, and how their values are compared.
WITH RECURSIVE own AS (
  SELECT attnum, attname, atttypid, atttypmod, attcollation, attgenerated <> '' AS generated,
         -- Without a collation, or under one that compares bytes: 950 is "C", 951 "POSIX".
         attcollation IN (0, 950, 951) AND getdatabaseencoding() IN ('UTF8', 'SQL_ASCII') AS by_bytes
    FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
), base (column_type, type) AS (
  -- Down a chain of domains.
  SELECT atttypid, atttypid FROM own
  UNION
  SELECT base.column_type, t.typbasetype FROM base JOIN pg_type t ON t.oid = base.type AND t.typtype = 'd'
), part (column_type, type) AS (
  -- Every type that a value is made of.
  SELECT atttypid, atttypid FROM own
  UNION
  SELECT part.column_type, inner_type.type
    FROM part JOIN pg_type t ON t.oid = part.type
   CROSS JOIN LATERAL (
     SELECT t.typbasetype WHERE t.typtype = 'd'
     UNION ALL SELECT t.typelem WHERE t.typelem <> 0
     UNION ALL SELECT f.atttypid FROM pg_attribute f
                WHERE t.typtype = 'c' AND f.attrelid = t.typrelid AND f.attnum > 0 AND NOT f.attisdropped
     UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)
   ) AS inner_type (type)
)
SELECT own.attname::text, own.atttypid, format_type(own.atttypid, own.atttypmod), own.atttypmod, own.generated,
       base.type, t.typtype = 'e', coalesce(c.collisdeterministic, true),
       (SELECT bool_and(p.typsend <> 0 AND p.typreceive <> 0)
          FROM part JOIN pg_type p ON p.oid = part.type WHERE part.column_type = own.atttypid),
       own.by_bytes,
       -- Types of a cluster's own have other oids elsewhere, and the binary form of an array or a row holds those.
       (SELECT bool_and(p.oid < 16384 OR p.typtype = 'e' AND p.oid = own.atttypid)
          FROM part JOIN pg_type p ON p.oid = part.type WHERE part.column_type = own.atttypid)
  FROM own
  JOIN base ON base.column_type = own.atttypid
  JOIN pg_type t ON t.oid = base.type AND t.typtype <> 'd'
  LEFT JOIN pg_collation c ON c.oid = own.attcollation
 ORDER BY own.attnum
