-- Once, where PostgreSQL runs (on Debian: apt-get install postgresql), as its superuser:
--     psql -f database.sql
-- It asks for the password that the new user is to have. The tables are made by the first job. All hosts share this
-- one database; each has a queue of its own in it, and its worker two connections: for more than 40 hosts raise
-- max_connections.
\prompt 'Password for the user rotation: ' word
CREATE USER rotation PASSWORD :'word';
CREATE DATABASE rotation OWNER rotation;
