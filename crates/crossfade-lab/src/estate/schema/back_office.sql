-- The schema "Back Office", most of which needs quotes.
CREATE TABLE "Back Office"."Employees" (
    "Employee No" integer PRIMARY KEY,
    "Full ""Name""" text NOT NULL,
    "reports to" integer REFERENCES "Back Office"."Employees" ON DELETE SET NULL
);
CREATE TABLE "Back Office"."Wages" (
    "Employee No" integer REFERENCES "Back Office"."Employees" ON DELETE CASCADE ON UPDATE CASCADE,
    month date,
    amount numeric(12,2) NOT NULL,
    PRIMARY KEY ("Employee No", month)
);
CREATE TABLE "Back Office"."order" ("select" integer, "from" text, "where" text, PRIMARY KEY ("select", "from"));
CREATE TABLE "Back Office".settings (key text PRIMARY KEY, value jsonb);
CREATE TABLE "Back Office"."Sessions" (
    id uuid PRIMARY KEY,
    client inet,
    lasted interval,
    seen tstzrange
);
CREATE TABLE "Back Office"."Größe ""XL""" ("Nº" smallint, "Länge" bigint, "Maße" numeric[], PRIMARY KEY ("Nº", "Länge"));
CREATE TABLE "Back Office"."Imports" (
    id bigint GENERATED ALWAYS AS IDENTITY (CACHE 20) PRIMARY KEY,
    batch bigint NOT NULL,
    payload text
);
CREATE TABLE "Back Office".bookings (
    id bigint PRIMARY KEY,
    period int8range NOT NULL,
    guest text,
    EXCLUDE USING gist (period WITH &&)
);
