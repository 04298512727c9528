-- migrate:up
-- Which sequences an event may end, without reading the words of all the others.
create index sequences_with_exits on sequences (id) where definition ? 'exit_on';
