-- migrate:up
-- The view for everybody's SQL shows ids of persons as text; a look-up by one still goes by an index.
create index states_by_text on states ((user_id::text));
