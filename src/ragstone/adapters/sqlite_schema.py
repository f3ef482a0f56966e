"""The schema of `ragstone.db`, as the list of migrations that make it. Append; never change one that was released."""

from __future__ import annotations

_FIRST = (
    """CREATE TABLE collections (
        uid TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        language TEXT NOT NULL,
        description TEXT NOT NULL,
        created_at REAL NOT NULL,
        spaces TEXT NOT NULL,          -- JSON: the registered spaces
        spaces_version INTEGER NOT NULL,
        space_id TEXT NOT NULL,
        job_count INTEGER NOT NULL DEFAULT 0,
        attempt_count INTEGER NOT NULL DEFAULT 0,
        holder TEXT,                   -- of the lease, NULL when it is free
        expires_at REAL NOT NULL DEFAULT 0
    ) STRICT""",
    """CREATE TABLE jobs (
        accepted INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order over all collections
        id TEXT NOT NULL UNIQUE,
        uid TEXT NOT NULL REFERENCES collections ON DELETE CASCADE,
        number INTEGER NOT NULL,
        principal TEXT NOT NULL,
        state TEXT NOT NULL,
        created_at REAL NOT NULL,
        finished_at REAL,
        request TEXT NOT NULL,         -- JSON
        result TEXT,                   -- JSON
        idempotency_key TEXT,
        body_digest TEXT NOT NULL,
        UNIQUE (uid, number)
    ) STRICT""",
    "CREATE UNIQUE INDEX jobs_by_key ON jobs (uid, principal, idempotency_key) WHERE idempotency_key IS NOT NULL",
    "CREATE INDEX jobs_by_collection ON jobs (uid, id)",
    "CREATE INDEX jobs_unfinished ON jobs (uid, number) WHERE state IN ('queued', 'running')",
    """CREATE TABLE attempts (
        uid TEXT NOT NULL REFERENCES collections ON DELETE CASCADE,
        number INTEGER NOT NULL,
        job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        state TEXT NOT NULL,
        retired INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (uid, number)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX attempts_by_job ON attempts (job_id)",
    "CREATE UNIQUE INDEX attempts_active ON attempts (uid) WHERE state = 'active'",
    "CREATE INDEX attempts_gaps ON attempts (uid, number) WHERE state = 'aborted' AND retired = 0",
    """CREATE TABLE commits (
        uid TEXT NOT NULL REFERENCES collections ON DELETE CASCADE,
        seq INTEGER NOT NULL,
        position INTEGER NOT NULL,
        id TEXT NOT NULL,
        parent_id TEXT,
        space_id TEXT NOT NULL,
        gaps TEXT NOT NULL,            -- JSON
        job_id TEXT NOT NULL,
        author TEXT NOT NULL,
        message TEXT NOT NULL,
        created_at REAL NOT NULL,
        stats TEXT NOT NULL,           -- JSON
        PRIMARY KEY (uid, seq),
        UNIQUE (uid, position)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX commits_by_id ON commits (uid, id)",
    "CREATE INDEX commits_by_time ON commits (uid, created_at)",
    """CREATE TABLE tags (
        made INTEGER PRIMARY KEY AUTOINCREMENT,
        uid TEXT NOT NULL REFERENCES collections ON DELETE CASCADE,
        name TEXT NOT NULL,
        commit_id TEXT NOT NULL,
        seq INTEGER NOT NULL,
        created_at REAL NOT NULL,
        UNIQUE (uid, name)
    ) STRICT""",
    """CREATE TABLE interactions (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        collection TEXT NOT NULL,
        body TEXT NOT NULL             -- JSON, without the feedback
    ) STRICT""",
    "CREATE INDEX interactions_by_collection ON interactions (collection, number)",
    """CREATE TABLE feedback (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        interaction INTEGER NOT NULL REFERENCES interactions ON DELETE CASCADE,
        body TEXT NOT NULL             -- JSON
    ) STRICT""",
    "CREATE INDEX feedback_by_interaction ON feedback (interaction, number)",
)

_SECOND = (
    "ALTER TABLE commits ADD COLUMN pruned_at REAL",
    """CREATE TABLE purges (
        made INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        uid TEXT NOT NULL,             -- no reference: an audit record outlives its collection
        path TEXT NOT NULL,
        state TEXT NOT NULL,
        body TEXT NOT NULL             -- JSON
    ) STRICT""",
    "CREATE INDEX purges_by_path ON purges (uid, path)",
    "ALTER TABLE feedback ADD COLUMN thumb INTEGER",
    "UPDATE feedback SET thumb = json_extract(body, '$.thumb')",
    "CREATE INDEX feedback_by_thumb ON feedback (thumb, interaction) WHERE thumb IS NOT NULL",
    """CREATE TABLE feedback_tags (
        tag TEXT NOT NULL,
        interaction INTEGER NOT NULL,
        feedback INTEGER NOT NULL REFERENCES feedback ON DELETE CASCADE,
        PRIMARY KEY (tag, interaction, feedback)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX feedback_tags_by_feedback ON feedback_tags (feedback)",
    """INSERT INTO feedback_tags (tag, interaction, feedback)
        SELECT DISTINCT tag.value, interaction, number FROM feedback, json_each(body, '$.tags') AS tag""",
    # The next two are filled from the interactions' JSON before they are read, those of older databases too (sqlite_interaction_facts).
    """CREATE TABLE interaction_facts (
        number INTEGER PRIMARY KEY REFERENCES interactions ON DELETE CASCADE,
        collection TEXT NOT NULL,
        created_at REAL NOT NULL,
        abstained INTEGER NOT NULL,
        commit_id TEXT NOT NULL,
        release_id TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX interactions_by_time ON interaction_facts (created_at, number)",
    "CREATE INDEX interactions_by_outcome ON interaction_facts (abstained, number)",
    "CREATE INDEX interactions_by_commit ON interaction_facts (commit_id, number)",
    "CREATE INDEX interactions_by_release ON interaction_facts (release_id, number)",
    """CREATE TABLE interaction_passages (
        path TEXT NOT NULL,
        collection TEXT NOT NULL,
        number INTEGER NOT NULL REFERENCES interactions ON DELETE CASCADE,
        chunk TEXT NOT NULL,
        cited INTEGER NOT NULL,
        PRIMARY KEY (path, collection, number, chunk)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX interaction_passages_by_number ON interaction_passages (number)",
    "CREATE INDEX interaction_passages_by_citation ON interaction_passages (chunk, number) WHERE cited",
)

_THIRD = (
    "ALTER TABLE attempts ADD COLUMN lost_at REAL",  # when another than its holder aborted it
    """CREATE TABLE locks (
        name TEXT PRIMARY KEY,
        holder TEXT NOT NULL,
        expires_at REAL NOT NULL
    ) STRICT, WITHOUT ROWID""",
    "CREATE TABLE cursors (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    """CREATE TABLE job_progress (
        job_id TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
        body TEXT NOT NULL             -- JSON
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE runs (
        experiment TEXT NOT NULL,
        key TEXT NOT NULL,
        began_at REAL NOT NULL,
        body TEXT NOT NULL,            -- JSON
        PRIMARY KEY (experiment, key)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX runs_by_time ON runs (experiment, began_at, key)",
    """CREATE TABLE releases (
        collection TEXT NOT NULL,
        number INTEGER NOT NULL,
        id TEXT NOT NULL,
        principal TEXT NOT NULL,
        created_at REAL NOT NULL,
        body TEXT NOT NULL,            -- JSON
        PRIMARY KEY (collection, number),
        UNIQUE (collection, id)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE aliases (
        collection TEXT NOT NULL,
        name TEXT NOT NULL,
        release_id TEXT NOT NULL,
        PRIMARY KEY (collection, name)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE dead_letters (
        job_id TEXT PRIMARY KEY,
        collection TEXT NOT NULL,
        body TEXT NOT NULL             -- JSON
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE document_acls (
        uid TEXT NOT NULL,
        path TEXT NOT NULL,
        groups TEXT NOT NULL,          -- JSON, sorted; none: open again, and gone once it is settled
        version INTEGER NOT NULL,
        settled INTEGER NOT NULL,      -- the index has it
        PRIMARY KEY (uid, path)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX document_acls_unsettled ON document_acls (uid, version, path) WHERE settled = 0",
    "CREATE TABLE acl_versions (uid TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    """CREATE TABLE audit (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        at REAL NOT NULL,
        principal TEXT NOT NULL,
        what TEXT NOT NULL,
        collection TEXT NOT NULL,
        status INTEGER NOT NULL,
        request_id TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX audit_by_principal ON audit (principal, number)",
    "CREATE INDEX audit_by_collection ON audit (collection, number)",
)

_FOURTH = (
    "ALTER TABLE collections ADD COLUMN builds TEXT NOT NULL DEFAULT '[]'",  # JSON: spaces that come or go, or came later
    # An attempt that fills a space has no job.
    """CREATE TABLE all_attempts (
        uid TEXT NOT NULL REFERENCES collections ON DELETE CASCADE,
        number INTEGER NOT NULL,
        job_id TEXT REFERENCES jobs (id) ON DELETE CASCADE,
        state TEXT NOT NULL,
        retired INTEGER NOT NULL DEFAULT 0,
        lost_at REAL,
        PRIMARY KEY (uid, number)
    ) STRICT, WITHOUT ROWID""",
    "INSERT INTO all_attempts (uid, number, job_id, state, retired, lost_at) SELECT uid, number, job_id, state, retired, lost_at FROM attempts",
    "DROP TABLE attempts",
    "ALTER TABLE all_attempts RENAME TO attempts",
    "CREATE INDEX attempts_by_job ON attempts (job_id)",
    "CREATE UNIQUE INDEX attempts_active ON attempts (uid) WHERE state = 'active'",
    "CREATE INDEX attempts_gaps ON attempts (uid, number) WHERE state = 'aborted' AND retired = 0",
)

_FIFTH = ("ALTER TABLE collections ADD COLUMN past_builds TEXT NOT NULL DEFAULT '[]'",)  # JSON: the last ones of which nothing else is left

MIGRATIONS = (_FIRST, _SECOND, _THIRD, _FOURTH, _FIFTH)
