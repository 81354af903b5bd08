-- Roles of the domain's database, for psql or any other client, by a superuser or the database's owner who may make
-- roles. Run it once when the database is new, and again after each `sigma db upgrade`: views that a migration made
-- anew have no grants. It changes nothing that is as it should be.
--
--   sigma_app     what the program needs: its own tables, in its own schema. Grant it to the program's login.
--   sigma_reader  the views for people and BI tools, and nothing else; it can write nothing, its session cannot either.
--
--   CREATE ROLE night LOGIN PASSWORD '...' IN ROLE sigma_app;  ALTER ROLE night SET role = 'sigma_app';
--   CREATE ROLE board LOGIN PASSWORD '...' IN ROLE sigma_reader;  ALTER ROLE board SET default_transaction_read_only = on;
--
-- The second line of each makes what the program makes sigma_app's, whichever login made it. Dagster's database needs
-- sigma_app alone: run this there too.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'sigma_app') THEN
        CREATE ROLE sigma_app NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'sigma_reader') THEN
        CREATE ROLE sigma_reader NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
    END IF;
END
$$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO sigma_app;
GRANT USAGE ON SCHEMA public TO sigma_reader;

DO $$
DECLARE
    found record;
BEGIN
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO sigma_app', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO sigma_reader', current_database());
    FOR found IN SELECT viewname FROM pg_views WHERE schemaname = 'public' LOOP
        EXECUTE format('GRANT SELECT ON public.%I TO sigma_reader', found.viewname);
    END LOOP;
END
$$;
