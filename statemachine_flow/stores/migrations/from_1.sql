-- How the rows of version 1 become rows of the newest version; `smf_old_` stands before the names of the old tables.
-- Seals, which version 1 did not have, are set behind this, and so is the row of the store itself.
INSERT INTO definitions (hash, body, seal) SELECT hash, body, 0 FROM smf_old_definitions;

INSERT INTO runs (no, id, workflow, version, definition, state, seq, epoch, owner, created_at, updated_at, started_at,
  ended_at, steps_total, steps_done, message, seal)
SELECT no, id, workflow, version, definition, state, seq, epoch, owner, created_at, updated_at, started_at,
  ended_at, steps_total, steps_done, message, 0
FROM smf_old_runs;

INSERT INTO journal (run, seq, kind, at, step, data, digest)
SELECT run, seq, kind, at, step, data, digest FROM smf_old_journal;

INSERT INTO steps (run, step, state, attempt) SELECT run, step, state, attempt FROM smf_old_steps;

INSERT INTO requests (id, run, action, by, reason, at, data, seal)
SELECT id, run, action, by, reason, at, data, 0 FROM smf_old_requests;

-- Numbers of requests must not come twice, not even those of requests that were answered long ago.
DELETE FROM sqlite_sequence WHERE name = 'requests';
INSERT INTO sqlite_sequence (name, seq) SELECT 'requests', seq FROM sqlite_sequence WHERE name = 'smf_old_requests';
