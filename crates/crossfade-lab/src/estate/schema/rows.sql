-- The initial rows: `:rows` of each big table.
INSERT INTO shop.accounts SELECT i, 'owner ' || i, 1000 FROM generate_series(1, :rows) AS i;
INSERT INTO shop.customers (name, email, home, mood)
SELECT 'customer ' || i, 'Mail' || i || '@example.org', ROW('street, "' || i || '"', NULL, i)::shop.address,
       (enum_range(NULL::shop.mood))[1 + i % 3]
FROM generate_series(1, :rows) AS i;
INSERT INTO shop.categories (parent, name) SELECT nullif(i / 5, 0), 'category ' || i FROM generate_series(1, 100) AS i;
INSERT INTO shop.products
SELECT 'P' || i, 1 + i % 100, ARRAY['new', NULL, 'a,b "c" \' || i], ARRAY[i, NULL, -i],
       CASE WHEN i % 3 > 0 THEN enum_range(NULL::shop.mood) END, i % 100 + 0.99
FROM generate_series(1, :rows) AS i;
INSERT INTO shop.product_categories SELECT 'P' || i, 1 + i % 100 FROM generate_series(1, :rows) AS i;
INSERT INTO shop.orders (customer, status, placed, remark)
SELECT i, (enum_range(NULL::shop.status))[1 + i % 4], timestamptz '2024-01-01 00:00:00+00' + i * interval '1 minute',
       CASE WHEN i % 7 > 0 THEN repeat('remark ', i % 20) END
FROM generate_series(1, :rows) AS i;
INSERT INTO shop.order_lines (order_id, line, sku, quantity, price)
SELECT i, line, 'P' || 1 + (i * line) % :rows, line, i % 100 FROM generate_series(1, :rows) AS i, generate_series(1, 2) AS line;
INSERT INTO shop.payments
SELECT md5('payment ' || i)::uuid, i, i, timestamptz '2024-01-02 00:00:00+00' FROM generate_series(1, :rows) AS i;
INSERT INTO shop.documents
SELECT i, 'document ' || i, repeat(md5(i::text), CASE WHEN i % 100 = 0 THEN 3000 ELSE 100 END),
       CASE WHEN i % 2 = 0 THEN decode(repeat(md5('scan ' || i), 200), 'hex') END
FROM generate_series(1, :rows / 4) AS i;
INSERT INTO shop.seats SELECT i, i FROM generate_series(1, :rows) AS i;
INSERT INTO shop.measurements
SELECT i, date '2024-01-01' + i % 1000, CASE WHEN i % 50 = 0 THEN 'NaN' ELSE i / 7.0 END FROM generate_series(1, :rows) AS i;
INSERT INTO shop.shipments
SELECT i, (ARRAY['france', 'norway', 'india', 'japan', 'chile', 'ghana'])[1 + i % 6], i / 3.0 FROM generate_series(1, :rows) AS i;
INSERT INTO shop.vehicles SELECT i, 'car ' || i FROM generate_series(1, :rows) AS i WHERE i % 2 = 0;
INSERT INTO shop.trucks SELECT i, 'truck ' || i, i / 10.0 FROM generate_series(1, :rows) AS i WHERE i % 2 = 1;
INSERT INTO shop.rates SELECT i / 100.0, 'rate ' || i FROM generate_series(1, :rows) AS i;
INSERT INTO shop.rates VALUES ('NaN', 'not a number'), (-0.500, 'a zero behind');
INSERT INTO shop.oddities
SELECT i, (ARRAY['NaN', 'Infinity', '-Infinity', '-0', '1e-40', '0.1'])[1 + i % 6]::float4,
       (ARRAY['NaN', 'Infinity', '-0', '1e-310', '0.1', '1.7976931348623157e308'])[1 + i % 6]::float8,
       (ARRAY['NaN', 'Infinity', '0.00', '-1.500', '1e30', '1e-20'])[1 + i % 6]::numeric,
       (ARRAY['1 mon -1 day 00:00:00.000001', '-00:00:01', '1000 years', '0'])[1 + i % 4]::interval,
       (ARRAY['infinity', '-infinity', '0044-03-15 12:00:00+00 BC', '2024-02-29 23:59:59.999999+00'])[1 + i % 4]::timestamptz,
       (ARRAY['10.0.0.1', '::1', '192.168.0.0/24', NULL])[1 + i % 4]::inet,
       (ARRAY['empty', '[1,5)', '(,)', NULL])[1 + i % 4]::int4range,
       (ARRAY['empty', '[2024-01-01 00:00:00+00,infinity)', '(,)', NULL])[1 + i % 4]::tstzrange,
       (ARRAY['{}', '{[1,3),[5,8)}', NULL])[1 + i % 3]::int4multirange,
       (ARRAY['{"b": 1, "a": [1.0, null, "\\u00e9"]}', 'null', '{}', NULL])[1 + i % 4]::jsonb,
       (ARRAY['{"b": 1,  "b": 2}', '[ ]', NULL])[1 + i % 3]::json,
       decode((ARRAY['', '00', 'ff005c27'])[1 + i % 3], 'hex'), (ARRAY['', '101', '0'])[1 + i % 3]::bit varying,
       to_tsvector('simple', 'word ' || i || ' and it''s like')
FROM generate_series(1, :rows) AS i;
INSERT INTO shop.coupons (percent) SELECT i % 100 FROM generate_series(1, :rows) AS i;
INSERT INTO shop.vouchers (amount) SELECT i % 100 FROM generate_series(1, :rows) AS i;
INSERT INTO shop.prices
SELECT i, CASE i % 4 WHEN 0 THEN 'NaN' WHEN 1 THEN NULL ELSE i / 10.0 END, CASE i % 3 WHEN 0 THEN '-0' ELSE 1.5 END,
       CASE WHEN i % 5 > 0 THEN 'price' END, daterange(date '2024-01-01', date '2024-01-01' + i)
FROM generate_series(1, :rows) AS i;
INSERT INTO shop.tickets SELECT i, 'T' || i, 'holder' FROM generate_series(1, :rows) AS i;
INSERT INTO shop.events
SELECT timestamptz '2024-01-01 00:00:00+00', 'source ' || i % 10, jsonb_build_object('i', i / 2) FROM generate_series(1, :rows) AS i;
INSERT INTO shop.stock SELECT i, 'gone', i FROM generate_series(2, :rows) AS i;
INSERT INTO shop.stock VALUES (1, 'gone', -1);
INSERT INTO "Back Office"."Employees" SELECT i, 'It''s "' || i || '"', nullif(i / 4, 0) FROM generate_series(1, :rows) AS i;
INSERT INTO "Back Office"."Wages" SELECT i, date '2024-01-01', i FROM generate_series(1, :rows) AS i;
INSERT INTO "Back Office"."order" SELECT i, 'from ' || i, NULL FROM generate_series(1, :rows) AS i;
INSERT INTO "Back Office".settings SELECT 'key ' || i, to_jsonb(i) FROM generate_series(1, 100) AS i;
INSERT INTO "Back Office"."Sessions"
SELECT md5('session ' || i)::uuid, '10.0.0.0'::inet + i, i * interval '1 second', tstzrange('2024-01-01 00:00:00+00', NULL)
FROM generate_series(1, :rows) AS i;
INSERT INTO "Back Office"."Größe ""XL""" SELECT i % 100, i, ARRAY[i, numeric 'NaN'] FROM generate_series(1, :rows) AS i;
INSERT INTO "Back Office"."Imports" (batch, payload) SELECT 0, 'row ' || i FROM generate_series(1, :rows) AS i;
INSERT INTO "Back Office".bookings SELECT i, int8range(i, i + 1), 'guest ' || i FROM generate_series(1, :rows) AS i;
