-- migrate:up
-- The W3C trace that an enrolment began in, and that all of its messages belong to; null for those from before.
alter table enrolments add column traceparent text;
alter table start_jobs add column traceparent text;

-- The same by delivery, for whoever sends it and for what comes back about it.
alter table delivery_contents add column traceparent text;
