-- Schemas, types, a sequence that two tables share, and the functions of triggers.
CREATE SCHEMA shop;
CREATE SCHEMA "Back Office";
CREATE TYPE shop.mood AS ENUM ('calm', 'keen', 'it''s "odd"');
CREATE TYPE shop.status AS ENUM ('new', 'paid', 'shipped', 'returned');
CREATE TYPE shop.address AS (street text, town text, code integer);
CREATE DOMAIN shop.quantity AS integer CHECK (VALUE > 0);
CREATE SEQUENCE shop.numbers START 1000 INCREMENT 2;

CREATE FUNCTION shop.touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END $$;

CREATE FUNCTION shop.note_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO shop.order_audit (order_id, what) VALUES (NEW.id, 'placed');
    RETURN NULL;
END $$;
