-- migrate:up
alter table commands drop constraint commands_kind_check;
alter table commands add constraint commands_kind_check
    check (kind in ('trigger', 'cancel', 'publish', 'pause', 'process', 'resend', 'retry', 'archive', 'simulate'));
-- migrate:down
