-- migrate:up
-- Who is signed in to the dashboard. Of a token only its MAC under ADMIN_API_KEY is kept: the table opens nothing, and a
-- new key signs everybody out.
create table sessions (
    token_mac bytea primary key check (octet_length(token_mac) = 32),
    created_at timestamptz not null default now(),
    seen_at timestamptz not null default now(),
    expires_at timestamptz not null
);
create index sessions_expiry on sessions (expires_at);

-- Links of `nurture open`: each signs in once, within minutes.
create table sign_in_links (
    token_mac bytea primary key check (octet_length(token_mac) = 32),
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    used_at timestamptz
);
create index sign_in_links_expiry on sign_in_links (expires_at);
