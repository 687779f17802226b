// Forward only, numbered by place. Never change one that was released: add the next.

export const MIGRATIONS: readonly string[] = [
  `
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;

-- One row per device, stream and pipeline: spares three strings per decision. The counts outlive retention.
CREATE TABLE lane (
  id INTEGER PRIMARY KEY, device TEXT NOT NULL, stream TEXT NOT NULL, pipeline TEXT NOT NULL,
  decided INTEGER NOT NULL DEFAULT 0, expired INTEGER NOT NULL DEFAULT 0, dead INTEGER NOT NULL DEFAULT 0,
  duplicate INTEGER NOT NULL DEFAULT 0,
  UNIQUE (device, stream, pipeline)
) STRICT;

-- body is the decision as everyone reads it, n and revision included; it is written once.
CREATE TABLE decision (
  n INTEGER PRIMARY KEY, lane INTEGER NOT NULL, boot TEXT NOT NULL, seq INTEGER NOT NULL, part INTEGER NOT NULL,
  outcome TEXT NOT NULL, label TEXT, score REAL, received_ms REAL NOT NULL, body TEXT NOT NULL, evidence TEXT NOT NULL
) STRICT;
-- One outcome per unit. What is deleted by age is remembered in seen.
CREATE UNIQUE INDEX decision_unit ON decision (lane, boot, seq, part);
-- Entries end with the row's n, so that one lane's decisions are read newest first without sorting.
CREATE INDEX decision_lane ON decision (lane);

CREATE TABLE seen (
  lane INTEGER NOT NULL, boot TEXT NOT NULL, through INTEGER NOT NULL, ranges TEXT NOT NULL, PRIMARY KEY (lane, boot)
) STRICT, WITHOUT ROWID;

CREATE TABLE dead_letter (
  id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, device TEXT NOT NULL, stream TEXT NOT NULL, boot TEXT, seq INTEGER,
  code TEXT NOT NULL, detail TEXT NOT NULL, sha256 TEXT NOT NULL, bytes INTEGER NOT NULL, type TEXT, received_ms REAL NOT NULL
) STRICT;
CREATE TABLE dead_count (code TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE rule (name TEXT PRIMARY KEY, errors INTEGER NOT NULL, last_error TEXT) STRICT, WITHOUT ROWID;
CREATE TABLE rule_state (rule TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (rule, key))
  STRICT, WITHOUT ROWID;

-- The outbox. next_ms is when the dispatcher must look at it; NULL: it has ended.
CREATE TABLE action (
  row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, n INTEGER NOT NULL, decision TEXT NOT NULL, rule TEXT, key TEXT,
  phase TEXT, idx INTEGER NOT NULL, kind TEXT NOT NULL, target TEXT NOT NULL, config TEXT NOT NULL, because TEXT,
  state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, sent INTEGER NOT NULL DEFAULT 0,
  created_ms REAL NOT NULL, expires_ms REAL NOT NULL, stale_ms REAL, next_ms REAL, ended_ms REAL,
  ack_status INTEGER, ack_error TEXT, ack_ms REAL, error_code TEXT, error_detail TEXT
) STRICT;
CREATE INDEX action_due ON action (next_ms) WHERE next_ms IS NOT NULL;
CREATE INDEX action_expiry ON action (expires_ms) WHERE next_ms IS NOT NULL;
CREATE INDEX action_leased ON action (row) WHERE state = 'leased';
CREATE INDEX action_ended ON action (ended_ms) WHERE ended_ms IS NOT NULL;
CREATE INDEX action_n ON action (n);
CREATE TABLE attempt (
  action INTEGER NOT NULL, attempt INTEGER NOT NULL, leased_ms REAL NOT NULL, sent_ms REAL, result TEXT NOT NULL,
  code TEXT, detail TEXT, PRIMARY KEY (action, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE device (
  name TEXT PRIMARY KEY, state TEXT NOT NULL DEFAULT 'unknown', registered INTEGER NOT NULL DEFAULT 0, note TEXT,
  credentials_at TEXT, first_ms REAL, last_ms REAL
) STRICT, WITHOUT ROWID;
CREATE TABLE config_revision (revision TEXT PRIMARY KEY, body TEXT NOT NULL, activated_ms REAL NOT NULL) STRICT;
CREATE INDEX config_revision_time ON config_revision (activated_ms);
`,
  `
-- Which configuration was active when, in order, whatever the clock said; who made it so, and the files that it was read from.
CREATE TABLE config_activation (
  id INTEGER PRIMARY KEY, revision TEXT NOT NULL, previous TEXT, at_ms REAL NOT NULL, how TEXT NOT NULL, author TEXT
) STRICT;
INSERT INTO config_activation (revision, previous, at_ms, how, author)
  SELECT revision, lag(revision) OVER (ORDER BY activated_ms, rowid), activated_ms, 'files', NULL
  FROM config_revision ORDER BY activated_ms, rowid;
ALTER TABLE config_revision ADD COLUMN files TEXT;
`,
  `
-- Who may come in over HTTP: the SHA-256 of what they present, never the thing itself.
CREATE TABLE token (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL, scopes TEXT NOT NULL, devices TEXT,
  created_ms REAL NOT NULL, created_by TEXT NOT NULL, expires_ms REAL NOT NULL, revoked_ms REAL, used_ms REAL
) STRICT, WITHOUT ROWID;
-- sha256 is of the row before and this one: what is changed or taken out later is noticed.
CREATE TABLE audit (
  n INTEGER PRIMARY KEY, at_ms REAL NOT NULL, who TEXT NOT NULL, path TEXT NOT NULL, body TEXT NOT NULL, sha256 TEXT NOT NULL
) STRICT;
`,
  `
-- Rules that a person has set aside. Not with rule_state: it outlives a change of the rule.
CREATE TABLE rule_arming (rule TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
`,
  `
-- \`keep\`: not every decision becomes a row. held: kept only because an action or a rule's state refers to it.
ALTER TABLE decision ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
CREATE INDEX decision_held ON decision (n) WHERE held = 1;
-- One lane's decisions by time, newest first without sorting.
CREATE INDEX decision_time ON decision (lane, received_ms);
ALTER TABLE lane ADD COLUMN kept_ms REAL;
ALTER TABLE lane ADD COLUMN kept_sign TEXT;
-- Units that have no row because of \`keep\`: a bit for each of 1024 numbers.
CREATE TABLE unkept (
  lane INTEGER NOT NULL, boot TEXT NOT NULL, part INTEGER NOT NULL, block INTEGER NOT NULL, bits BLOB NOT NULL,
  first_ms REAL NOT NULL, last_ms REAL NOT NULL, PRIMARY KEY (lane, boot, part, block)
) STRICT, WITHOUT ROWID;
CREATE INDEX unkept_age ON unkept (first_ms);
-- Sums per lane and minute of received_at, over every unit; the units of the minute have numbers from first_n to last_n.
CREATE TABLE minute_summary (
  lane INTEGER NOT NULL, minute INTEGER NOT NULL, first_n INTEGER NOT NULL, last_n INTEGER NOT NULL,
  decided INTEGER NOT NULL, expired INTEGER NOT NULL, dead INTEGER NOT NULL,
  scored INTEGER NOT NULL, score_sum REAL NOT NULL, score_min REAL, score_max REAL,
  latency_sum REAL NOT NULL, latency_max REAL NOT NULL, labels TEXT NOT NULL, PRIMARY KEY (lane, minute)
) STRICT, WITHOUT ROWID;
CREATE INDEX minute_summary_time ON minute_summary (minute);
INSERT INTO minute_summary
  SELECT lane, CAST(floor(received_ms / 60000) AS INTEGER) AS minute, min(n), max(n),
    sum(outcome = 'decided'), sum(outcome = 'expired'), sum(outcome = 'dead'),
    count(score), total(score), min(score), max(score),
    total(json_extract(body, '$.latency_ms')), coalesce(max(json_extract(body, '$.latency_ms')), 0), '[]'
  FROM decision GROUP BY 1, 2;
UPDATE minute_summary SET labels = (
  SELECT json_group_array(json_array(label, count)) FROM (
    SELECT label, count(*) AS count FROM decision INDEXED BY decision_time
    WHERE lane = minute_summary.lane AND received_ms >= minute * 60000 AND received_ms < (minute + 1) * 60000
      AND label IS NOT NULL
    GROUP BY label ORDER BY count DESC LIMIT 32));
INSERT INTO meta SELECT 'rows', count(*) FROM decision WHERE true ON CONFLICT DO UPDATE SET value = excluded.value;
`,
  `
-- What happened to the ledger itself: damage, a restore, a clock that was set. accepted_ms: somebody has taken note.
CREATE TABLE event (
  id INTEGER PRIMARY KEY, at_ms REAL NOT NULL, kind TEXT NOT NULL, detail TEXT NOT NULL, accepted_ms REAL
) STRICT;
`,
  `
-- The way by which an action leaves: mqtt, record, or to:<target>. What waits for one receiver holds nobody else up.
ALTER TABLE action ADD COLUMN outlet TEXT NOT NULL DEFAULT 'mqtt';
UPDATE action SET outlet = 'record' WHERE kind = 'record';
-- When a person asked for it again.
ALTER TABLE action ADD COLUMN retried_ms REAL;
DROP INDEX action_due;
CREATE INDEX action_due ON action (outlet, next_ms) WHERE next_ms IS NOT NULL;
`,
  `
-- How long the oldest open action has waited, without looking at all of them.
CREATE INDEX action_open ON action (created_ms) WHERE next_ms IS NOT NULL;
`,
  `
-- Devices that somebody had forgotten: what of them is received before then, and comes late, is not taken up again.
CREATE TABLE forgotten (device TEXT PRIMARY KEY, at_ms REAL NOT NULL) STRICT, WITHOUT ROWID;
`,
];
