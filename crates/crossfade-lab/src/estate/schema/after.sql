-- What comes after the rows.
ALTER TABLE shop.stock DROP COLUMN gone;
ALTER TABLE shop.stock ADD CONSTRAINT stock_is_there CHECK (pieces >= 0) NOT VALID;
ALTER TABLE shop.documents ALTER COLUMN body SET STORAGE EXTERNAL, ALTER COLUMN scan SET STORAGE EXTERNAL;

CREATE UNIQUE INDEX customers_email ON shop.customers (lower(email));
CREATE INDEX orders_open ON shop.orders (placed) WHERE status IN ('new', 'paid');
CREATE INDEX orders_customer ON shop.orders (customer);
CREATE INDEX order_lines_sku ON shop.order_lines (sku);
CREATE INDEX payments_order ON shop.payments (order_id) INCLUDE (amount);
CREATE INDEX products_tags ON shop.products USING gin (tags);
CREATE INDEX products_category ON shop.products (category, price DESC NULLS LAST);
CREATE INDEX measurements_value ON shop.measurements (value);
CREATE INDEX oddities_data ON shop.oddities USING gin (data jsonb_path_ops);
CREATE INDEX events_happened ON shop.events USING brin (happened);
CREATE INDEX "Employees by boss" ON "Back Office"."Employees" ("reports to", upper("Full ""Name"""));
CREATE INDEX imports_batch ON "Back Office"."Imports" (batch);

CREATE TRIGGER customers_touch BEFORE UPDATE ON shop.customers FOR EACH ROW EXECUTE FUNCTION shop.touch();
CREATE TRIGGER orders_note AFTER INSERT ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.note_order();
CREATE TRIGGER stock_touch BEFORE UPDATE ON shop.stock FOR EACH ROW EXECUTE FUNCTION shop.touch();
ALTER TABLE shop.stock DISABLE TRIGGER stock_touch;

CREATE VIEW shop.order_totals AS
SELECT o.id, c.name, sum(l.total) AS total
FROM shop.orders AS o JOIN shop.customers AS c ON c.id = o.customer JOIN shop.order_lines AS l ON l.order_id = o.id
GROUP BY o.id, c.name;
CREATE MATERIALIZED VIEW "Back Office"."Pay by month" AS
SELECT w.month, sum(w.amount) AS amount
FROM "Back Office"."Wages" AS w JOIN "Back Office"."Employees" AS e ON e."Employee No" = w."Employee No"
GROUP BY w.month;
CREATE UNIQUE INDEX pay_by_month ON "Back Office"."Pay by month" (month);

CREATE FUNCTION "Back Office".spent(customer bigint) RETURNS numeric LANGUAGE plpgsql STABLE AS $$
DECLARE
    answer numeric;
BEGIN
    SELECT sum(t.total) INTO answer
    FROM shop.order_totals AS t JOIN shop.orders AS o ON o.id = t.id WHERE o.customer = spent.customer;
    RETURN coalesce(answer, 0);
END $$;
ANALYZE;
