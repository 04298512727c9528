-- migrate:up
-- Changes no table: planning reads of published contacts what is wanted of which kind, and a controller that waits for this
-- finds it there.
select;
