-- +goose Up
-- Who may see an asset, and what its owner calls it: policy, no part of an
-- encode. A row may be there before the asset is published; none means the
-- defaults.
CREATE TABLE asset_policies (
    hash        text PRIMARY KEY CHECK (hash ~ '^[0-9a-f]{64}$'),
    private     boolean NOT NULL DEFAULT false, -- /stream/{hash} is closed: playback keys are the only way in
    external_id text UNIQUE CHECK (external_id COLLATE "C" ~ '^[A-Za-z0-9_.:-]{3,128}$'), -- 3 and more: no scope of a token
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CHECK (external_id !~ '^[0-9a-f]{64}$') -- nobody's hash
);
-- Lists of assets, newest first.
CREATE INDEX assets_listed ON assets (created_at DESC, hash DESC);

-- +goose Down
DROP INDEX assets_listed;
DROP TABLE asset_policies;
