-- Two tenants of one PostgreSQL: each has a role, and a database that it owns and nobody else may open.
-- psql runs this as a superuser, with the passwords in its environment.
\getenv red RED_POSTGRES_PASSWORD
\getenv blue BLUE_POSTGRES_PASSWORD
CREATE ROLE red LOGIN PASSWORD :'red';
CREATE ROLE blue LOGIN PASSWORD :'blue';
CREATE DATABASE red OWNER red CONNECTION LIMIT 60;
CREATE DATABASE blue OWNER blue CONNECTION LIMIT 60;
REVOKE ALL ON DATABASE red, blue, postgres, template1 FROM PUBLIC;
