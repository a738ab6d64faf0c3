-- The store, version 2. Names in double braces are filled in from the lifecycle tables, which are the only place
-- where states and edges are written down; SQL repeats them so that not even a hand-typed UPDATE can break them.

-- The store itself, in one row. A backup is another store than the one it was made of, and has another `id`.
CREATE TABLE smf_store (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  id TEXT NOT NULL
) STRICT;

-- A definition, once, however many runs began with it.
CREATE TABLE definitions (
  hash TEXT PRIMARY KEY,
  body BLOB NOT NULL,
  seal INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A run in one row. `owner` is JSON or NULL; every write is conditional on `epoch` and `seq`. `seal` is the checksum of
-- the row, 0 while a transaction changes it: lists show rows without reading journals.
CREATE TABLE runs (
  no INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  workflow TEXT NOT NULL,
  version TEXT NOT NULL,
  definition TEXT NOT NULL REFERENCES definitions (hash) DEFERRABLE INITIALLY DEFERRED,
  state TEXT NOT NULL CHECK {{run_state_known}},
  seq INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  owner TEXT,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  started_at INTEGER,
  ended_at INTEGER,
  steps_total INTEGER NOT NULL,
  steps_done INTEGER NOT NULL,
  message TEXT NOT NULL,
  seal INTEGER NOT NULL
) STRICT;
CREATE INDEX runs_by_state ON runs (state, no);
CREATE INDEX runs_by_workflow ON runs (workflow, no);
CREATE INDEX runs_owned ON runs (no) WHERE owner IS NOT NULL;

-- The journal: the truth. Everything else in this file can be computed from it.
CREATE TABLE journal (
  run INTEGER NOT NULL REFERENCES runs (no),
  seq INTEGER NOT NULL,
  kind TEXT NOT NULL CHECK {{kind_known}},
  at INTEGER NOT NULL,
  step TEXT,
  data BLOB NOT NULL,
  digest BLOB NOT NULL,
  PRIMARY KEY (run, seq)
) STRICT, WITHOUT ROWID;

-- Where each step is that something has happened to.
CREATE TABLE steps (
  run INTEGER NOT NULL REFERENCES runs (no),
  step TEXT NOT NULL,
  state TEXT NOT NULL CHECK {{step_state_known}},
  attempt INTEGER NOT NULL,
  PRIMARY KEY (run, step)
) STRICT, WITHOUT ROWID;

-- What other processes ask of a run's owner; answered rows are deleted by the write that answers them.
CREATE TABLE requests (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  run INTEGER NOT NULL REFERENCES runs (no),
  action TEXT NOT NULL,
  by TEXT NOT NULL,
  reason TEXT NOT NULL,
  at INTEGER NOT NULL,
  data BLOB NOT NULL,
  seal INTEGER NOT NULL
) STRICT;

-- The last sign of life of each owner: who does not give one for the length of its lease has lost its runs.
CREATE TABLE beats (
  nonce TEXT PRIMARY KEY,
  count INTEGER NOT NULL,
  at INTEGER NOT NULL,
  monotonic REAL NOT NULL
) STRICT, WITHOUT ROWID;

-- What an owner wanted to keep after another one had taken its run. Nothing is ever computed from it.
CREATE TABLE rejected (
  no INTEGER PRIMARY KEY,
  run INTEGER NOT NULL REFERENCES runs (no),
  epoch INTEGER NOT NULL,
  owner TEXT NOT NULL,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  step TEXT,
  data BLOB NOT NULL,
  seal INTEGER NOT NULL
) STRICT;
CREATE INDEX rejected_by_run ON rejected (run);

CREATE TRIGGER runs_begin BEFORE INSERT ON runs
WHEN NEW.state <> '{{run_initial}}'
BEGIN SELECT RAISE(ABORT, 'illegal run edge: a run begins {{run_initial}}'); END;

CREATE TRIGGER runs_edge BEFORE UPDATE OF state ON runs
WHEN NOT {{run_edge}}
BEGIN SELECT RAISE(ABORT, 'illegal run edge'); END;

-- A process of an older version that still has the file open knows of no seals, nor of the function that makes them: its
-- next write ends here.
CREATE TRIGGER runs_unsealed BEFORE UPDATE OF seq, epoch, owner ON runs
WHEN NEW.seal = OLD.seal AND NEW.seal <> smf_seal({{new_columns}})
BEGIN SELECT RAISE(ABORT, 'the store was brought to a newer version meanwhile'); END;

CREATE TRIGGER steps_begin BEFORE INSERT ON steps
WHEN NOT {{step_first}}
BEGIN SELECT RAISE(ABORT, 'illegal step edge: not reachable from {{step_initial}}'); END;

CREATE TRIGGER steps_edge BEFORE UPDATE OF state ON steps
WHEN NOT {{step_edge}}
BEGIN SELECT RAISE(ABORT, 'illegal step edge'); END;

CREATE TRIGGER journal_append_only BEFORE UPDATE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
