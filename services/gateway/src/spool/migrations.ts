// Forward only, numbered by place. Never change one that was released: add the next.

export const MIGRATIONS: readonly string[] = [
  `
CREATE TABLE stream (id INTEGER PRIMARY KEY, device TEXT NOT NULL, stream TEXT NOT NULL, UNIQUE (device, stream)) STRICT;

-- A row stays until the last of its units is settled. Ids grow with time, so they are also the order of arrival.
CREATE TABLE frame (
  id INTEGER PRIMARY KEY, stream_id INTEGER NOT NULL, boot TEXT NOT NULL, seq INTEGER NOT NULL, received_ms REAL NOT NULL,
  type TEXT NOT NULL, traceparent TEXT, payload BLOB NOT NULL
) STRICT;
CREATE INDEX frame_stream ON frame (stream_id);

-- What is to be decided about a frame. attempts is committed before each try.
CREATE TABLE unit (
  frame INTEGER NOT NULL, pipeline TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (frame, pipeline)
) STRICT, WITHOUT ROWID;

-- Which numbers of a boot were taken: all up to through, and those in above, JSON [[first, last], …].
CREATE TABLE boot (
  stream_id INTEGER NOT NULL, boot TEXT NOT NULL, through INTEGER NOT NULL, above TEXT NOT NULL, rejected TEXT NOT NULL,
  PRIMARY KEY (stream_id, boot)
) STRICT;

CREATE TABLE counter (
  stream_id INTEGER NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (stream_id, name)
) STRICT, WITHOUT ROWID;
`,
  `
-- Which group of changes was the last to be committed.
CREATE TABLE last_group (n INTEGER NOT NULL) STRICT;
INSERT INTO last_group VALUES (0);
`,
  `
-- Where a frame's first sample lies, where the device says it.
ALTER TABLE frame ADD COLUMN at REAL;

-- part is which of its frame's units it is; -1: the frame is not cut into windows yet; -2: it is, and its samples are still needed.
CREATE TABLE part (
  frame INTEGER NOT NULL, pipeline TEXT NOT NULL, part INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (frame, pipeline, part)
) STRICT, WITHOUT ROWID;
INSERT INTO part SELECT frame, pipeline, 0, attempts FROM unit;
DROP TABLE unit;
ALTER TABLE part RENAME TO unit;

-- Where a pipeline stands in the samples of a boot, after the last frame that went, and the state that its last unit left.
CREATE TABLE chain (
  stream_id INTEGER NOT NULL, boot TEXT NOT NULL, pipeline TEXT NOT NULL, mark BLOB, states BLOB,
  PRIMARY KEY (stream_id, boot, pipeline)
) STRICT, WITHOUT ROWID;
`,
];
