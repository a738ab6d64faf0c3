-- Every statement the store sends, by name. Values are always bound, never pasted in; `{{columns}}` stands for the
-- columns of a run's row, in the order of `RunRow`, `{{advanced}}` for the same with those that `advance_run` sets.
-- `smf_seal` is the checksum of its arguments.

-- name: store_id
SELECT id FROM smf_store;

-- How far a run has come, and whether its row can be believed.
-- name: reached
SELECT epoch, seq, seal IS smf_seal(no, {{columns}}) FROM runs WHERE no = ?;

-- Every run with what has to be true of its journal.
-- name: extents
SELECT no, id, seq, seal IS smf_seal(no, {{columns}}) FROM runs;

-- name: journal
SELECT seq, kind, at, step, data, digest FROM journal WHERE run = ? ORDER BY seq;

-- name: steps_of
SELECT step, state, attempt FROM steps WHERE run = ?;

-- name: last_request
SELECT seq FROM sqlite_sequence WHERE name = 'requests';

-- name: insert_definition
INSERT OR IGNORE INTO definitions (hash, body, seal) VALUES (?1, ?2, smf_seal(?1, ?2));

-- name: insert_run
INSERT OR IGNORE INTO runs (id, workflow, version, definition, state, seq, epoch, owner, created_at, updated_at,
  steps_total, steps_done, message, seal)
VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?, 0, '', 0);

-- name: number
SELECT no FROM runs WHERE id = ?;

-- The hot one: once per run and commit. It seals the row as well: that costs half of a second statement.
-- name: advance_run
UPDATE runs SET seq = ?1, updated_at = ?2, steps_done = ?3, seal = smf_seal(no, {{advanced}})
WHERE no = ?4 AND epoch = ?5 AND seq = ?6;

-- name: change_run
UPDATE runs SET state = ?, started_at = ?, ended_at = ?, message = ? WHERE no = ?;

-- name: insert_record
INSERT INTO journal (run, seq, kind, at, step, data, digest) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: insert_step
INSERT INTO steps (run, step, state, attempt) VALUES (?, ?, ?, ?);

-- name: change_step
UPDATE steps SET state = ?, attempt = ? WHERE run = ? AND step = ?;

-- name: claim
UPDATE runs SET epoch = epoch + 1, owner = ?, seal = 0 WHERE id = ? AND epoch = ?;

-- name: release
UPDATE runs SET owner = NULL, seal = 0 WHERE id = ? AND epoch = ?;

-- The last statement about a run in every transaction that changes more of its row than `advance_run` does.
-- name: seal
UPDATE runs SET seal = smf_seal(no, {{columns}}) WHERE no = ?;

-- name: row
SELECT {{columns}}, seal IS smf_seal(no, {{columns}}) FROM runs WHERE id = ?;

-- name: row_of_number
SELECT {{columns}}, seal IS smf_seal(no, {{columns}}) FROM runs WHERE no = ?;

-- name: numbers
SELECT no FROM runs ORDER BY no DESC;

-- The states come as one JSON array, so that the text of the statement never depends on data. A damaged row passes
-- every filter: what it says of itself is not to be believed.
-- name: rows
SELECT no, {{columns}}, seal IS smf_seal(no, {{columns}}) FROM runs
WHERE (
    (:states IS NULL OR state IN (SELECT value FROM json_each(:states)))
    AND (:workflow IS NULL OR workflow = :workflow)
    AND (:since IS NULL OR created_at >= :since)
  )
  OR seal IS NOT smf_seal(no, {{columns}})
ORDER BY no DESC LIMIT :limit;

-- What somebody owns, by the index of it: damage elsewhere is no concern of whoever takes runs over.
-- name: owned
SELECT no, {{columns}}, seal IS smf_seal(no, {{columns}}) FROM runs WHERE owner IS NOT NULL ORDER BY no DESC;

-- name: match
SELECT id FROM runs WHERE substr(id, 1, length(:prefix)) = :prefix ORDER BY no DESC LIMIT :limit;

-- name: records
SELECT seq, kind, at, step, data, digest FROM journal
WHERE run = (SELECT no FROM runs WHERE id = ?) AND seq > ? ORDER BY seq;

-- name: steps
SELECT step, state, attempt FROM steps WHERE run = (SELECT no FROM runs WHERE id = ?) ORDER BY step;

-- name: definition
SELECT body, seal IS smf_seal(hash, body) FROM definitions WHERE hash = ?;

-- name: damaged_definitions
SELECT substr(hash, 1, 12) FROM definitions WHERE seal IS NOT smf_seal(hash, body);

-- name: damaged_requests
SELECT id || ' of run ' || coalesce((SELECT runs.id FROM runs WHERE no = run), '?')
FROM requests WHERE seal IS NOT smf_seal(id, run, action, by, reason, at, data);

-- name: damaged_rejected
SELECT 'for run ' || coalesce((SELECT id FROM runs WHERE runs.no = run), '?')
FROM rejected WHERE seal IS NOT smf_seal(run, epoch, owner, at, kind, step, data);

-- name: insert_request
INSERT INTO requests (run, action, by, reason, at, data, seal) VALUES (:run, :action, :by, :reason, :at, :data, 0);

-- name: seal_request
UPDATE requests SET seal = smf_seal(id, run, action, by, reason, at, data) WHERE id = ?;

-- name: seen
SELECT epoch, seq, (SELECT coalesce(max(id), 0) FROM requests WHERE run = :run) FROM runs WHERE no = :run;

-- name: requests
SELECT requests.id, runs.id, action, by, reason, at, data,
  runs.is_whole AND requests.seal IS smf_seal(requests.id, requests.run, action, by, reason, at, data)
FROM requests LEFT JOIN (SELECT no, id, seal IS smf_seal(no, {{columns}}) AS is_whole FROM runs) AS runs
  ON runs.no = requests.run
WHERE :run IS NULL OR runs.id = :run ORDER BY requests.id;

-- name: delete_requests
DELETE FROM requests WHERE run = ?;

-- name: delete_request
DELETE FROM requests WHERE id = ?;

-- name: beat
INSERT OR REPLACE INTO beats (nonce, count, at, monotonic) VALUES (?, ?, ?, ?);

-- name: forget_beats
DELETE FROM beats WHERE at < ? AND nonce <> ?;

-- Ids and epochs come as one JSON array of pairs.
-- name: lost_runs
SELECT json_extract(asked.value, '$[0]') FROM json_each(?) AS asked
LEFT JOIN runs ON runs.id = json_extract(asked.value, '$[0]')
WHERE runs.epoch IS NOT json_extract(asked.value, '$[1]');

-- name: last_beat
SELECT nonce, count, at, monotonic FROM beats WHERE nonce = ?;

-- name: leave
DELETE FROM beats WHERE nonce = ?;

-- name: reject
INSERT INTO rejected (run, epoch, owner, at, kind, step, data, seal)
SELECT no, ?2, ?3, ?4, ?5, ?6, ?7, smf_seal(no, ?2, ?3, ?4, ?5, ?6, ?7) FROM runs WHERE id = ?1;

-- A run is found by its row and by the index of its id: damage to one of them hides nothing.
-- name: rejected
SELECT runs.id, rejected.epoch, rejected.owner, at, kind, step, data,
  runs.id IS :run AND rejected.seal IS smf_seal(run, rejected.epoch, rejected.owner, at, kind, step, data) AS is_whole
FROM rejected LEFT JOIN runs ON runs.no = rejected.run
WHERE runs.id = :run OR run = (SELECT no FROM runs WHERE id = :run) OR runs.id IS NULL
  OR rejected.seal IS NOT smf_seal(run, rejected.epoch, rejected.owner, at, kind, step, data)
ORDER BY rejected.no;

-- name: owners
SELECT id, owner FROM runs WHERE owner IS NOT NULL ORDER BY no;
