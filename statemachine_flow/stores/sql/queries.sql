-- Every statement the store sends, by name. Values are always bound, never pasted in.

-- name: insert_definition
INSERT OR IGNORE INTO definitions (hash, body) VALUES (?, ?);

-- name: insert_run
INSERT OR IGNORE INTO runs (id, workflow, version, definition, state, seq, epoch, owner, created_at, updated_at,
  steps_total, steps_done, message)
VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?, 0, '');

-- name: number
SELECT no FROM runs WHERE id = ?;

-- The hot one: once per run and commit.
-- name: advance_run
UPDATE runs SET seq = ?, updated_at = ?, steps_done = ? WHERE no = ? AND epoch = ? AND seq = ?;

-- name: change_run
UPDATE runs SET state = ?, started_at = ?, ended_at = ?, message = ? WHERE no = ?;

-- name: insert_record
INSERT INTO journal (run, seq, kind, at, step, data, digest) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: insert_step
INSERT INTO steps (run, step, state, attempt) VALUES (?, ?, ?, ?);

-- name: change_step
UPDATE steps SET state = ?, attempt = ? WHERE run = ? AND step = ?;

-- name: claim
UPDATE runs SET epoch = epoch + 1, owner = ? WHERE id = ? AND epoch = ?;

-- name: release
UPDATE runs SET owner = NULL WHERE id = ? AND epoch = ?;

-- name: row
SELECT id, workflow, version, definition, state, seq, epoch, owner, created_at, updated_at, started_at, ended_at,
  steps_total, steps_done, message
FROM runs WHERE id = ?;

-- The states come as one JSON array, so that the text of the statement never depends on data.
-- name: rows
SELECT id, workflow, version, definition, state, seq, epoch, owner, created_at, updated_at, started_at, ended_at,
  steps_total, steps_done, message
FROM runs
WHERE (:states IS NULL OR state IN (SELECT value FROM json_each(:states)))
  AND (:workflow IS NULL OR workflow = :workflow)
  AND (:since IS NULL OR created_at >= :since)
  AND (NOT :owned OR owner IS NOT NULL)
ORDER BY no DESC LIMIT :limit;

-- name: match
SELECT id FROM runs WHERE substr(id, 1, length(:prefix)) = :prefix ORDER BY no DESC LIMIT :limit;

-- name: records
SELECT seq, kind, at, step, data, digest FROM journal
WHERE run = (SELECT no FROM runs WHERE id = ?) AND seq > ? ORDER BY seq;

-- name: definition
SELECT body FROM definitions WHERE hash = ?;

-- name: insert_request
INSERT INTO requests (run, action, by, reason, at, data) VALUES ((SELECT no FROM runs WHERE id = ?), ?, ?, ?, ?, ?);

-- name: requests
SELECT requests.id, runs.id, action, by, reason, at, data FROM requests JOIN runs ON runs.no = requests.run
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
INSERT INTO rejected (run, epoch, owner, at, kind, step, data)
VALUES ((SELECT no FROM runs WHERE id = ?), ?, ?, ?, ?, ?, ?);

-- name: rejected
SELECT runs.id, rejected.epoch, rejected.owner, at, kind, step, data FROM rejected JOIN runs ON runs.no = rejected.run
WHERE runs.id = ? ORDER BY rejected.no;
