// Package index finds recordings: by who, where, when and how they ended, by what
// was said to the database, and by what was on the screen. It follows a store,
// and keeps what it read there in a file of SQLite. It is the only user of SQLite.
//
// Its one idea: the index is a cache and never more. The store is the truth;
// whatever is damaged, missing or of another version is thrown away and read
// again; no verdict over a recording ever rests on it. What it holds is as
// readable as the recordings were for who made it, so that the file is for its
// owner alone.
//
// What is looked for is a plain piece of text. Nothing in it is special; case, white
// space and how accents are encoded do not matter (text.go).
package index

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"modernc.org/sqlite"

	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/session"
)

// version is that of the schema, and of how texts are read off a tape. A file of
// another one is never read, and removed.
const version = 2

// Options is what an Index needs.
type Options struct {
	Dir     string // where its file lies; made when it is not there
	Of      string // says what is indexed, and with which keys: something else has another file
	Archive *recorder.Archive

	// Patience is how long Freshen takes at most. When zero, Freshen does
	// everything that is to be done; otherwise somebody must be in Run.
	Patience time.Duration
	// SweepEvery is how often all days of the store are looked at, not only the
	// last ones. 1 h when zero.
	SweepEvery time.Duration
	// TombsEvery is how often ledgers are asked which recordings were removed. 1 min
	// when zero.
	TombsEvery time.Duration
	// KeepFree is how many bytes of the disk are left for others, who need them
	// more: with fewer, nothing is read into the index.
	KeepFree int64
	// Workers is how many manifests are read at once. 2 when zero.
	Workers int
	// Progress is told how far a Freshen without Patience has come; may be nil.
	Progress func(done, total int)
}

// Index is one file. Its methods may be called by many at once, and several
// processes may have the same file.
type Index struct {
	o    Options
	file string
	turn chan struct{} // held by who follows the store

	tombs time.Time // when ledgers were last asked for tombstones; of who has the turn

	reading chan struct{} // tokens: who reads a recording that runs

	mu sync.Mutex
	db *sql.DB // nil after Close, and until it is opened again
}

// Open opens the index, which is empty when it was not there.
func Open(o Options) (*Index, error) {
	if o.SweepEvery <= 0 {
		o.SweepEvery = time.Hour
	}
	if o.TombsEvery <= 0 {
		o.TombsEvery = time.Minute
	}
	o.Workers = max(o.Workers, 2)
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("the index of recordings: %w", err)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	of := sha256.Sum256([]byte(o.Of))
	x := &Index{o: o, file: filepath.Join(dir, fmt.Sprintf("%s%d-%x.db", prefix, version, of[:8])), turn: make(chan struct{}, 1), reading: make(chan struct{}, 2)}
	x.tidy()
	_, err = x.open()
	return x, err
}

const prefix = "recordings-v"

// unused is after how long a file that nobody opened any more is removed.
const unused = 60 * 24 * time.Hour

// tidy removes files of other versions, and of what nobody looks at any more. It is only
// about room: what it can not remove stays.
func (x *Index) tidy() {
	files, _ := filepath.Glob(filepath.Join(filepath.Dir(x.file), prefix+"*"))
	ours := fmt.Sprintf("%s%d-", prefix, version)
	for _, file := range files {
		info, err := os.Lstat(file)
		if err != nil || strings.HasPrefix(file, x.file) {
			continue
		}
		if !strings.HasPrefix(filepath.Base(file), ours) || time.Since(info.ModTime()) > unused {
			os.Remove(file)
		}
	}
}

// Close closes the file. Nobody may be in another method.
func (x *Index) Close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.db == nil {
		return nil
	}
	defer func() { x.db = nil }()
	return x.db.Close()
}

// open returns the database, and opens it if need be. A file that is none, or is
// damaged, is replaced.
func (x *Index) open() (*sql.DB, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.db != nil {
		return x.db, nil
	}
	unlock, err := x.lock() // nobody replaces a file that another one is opening
	if err != nil {
		return nil, fmt.Errorf("the index of recordings: %w", err)
	}
	defer unlock()
	db, err := openFile(x.file)
	if damaged(err) {
		x.remove()
		db, err = openFile(x.file)
	}
	if err != nil {
		return nil, fmt.Errorf("the index of recordings, %s: %w", x.file, err)
	}
	now := time.Now()
	os.Chtimes(x.file, now, now) // for tidy
	x.db = db
	return db, nil
}

func (x *Index) remove() {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		os.Remove(x.file + suffix)
	}
}

func openFile(file string) (*sql.DB, error) {
	// A link would let whoever made it choose what is opened, and changed.
	if info, err := os.Lstat(file); err == nil && !info.Mode().IsRegular() {
		if err := os.Remove(file); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600) // SQLite gives its other files the same mode
	if err != nil {
		return nil, err
	}
	f.Close()
	if err := os.Chmod(file, 0o600); err != nil {
		return nil, err
	}
	source := url.URL{Scheme: "file", Path: file, RawQuery: "_txlock=immediate&_pragma=busy_timeout(20000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=trusted_schema(OFF)"}
	db, err := sql.Open("sqlite", source.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(4) // so many questions are answered at once; others wait their turn, page by page
	if _, err = db.Exec(schema); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// errDamaged is what a caller hears whose index was thrown away under them.
var errDamaged = errors.New("the index was damaged and has been thrown away: ask again, and it is built anew from the store")

// use lets somebody use the database. When it turns out to be damaged, it is thrown
// away.
func (x *Index) use(do func(*sql.DB) error) error {
	db, err := x.open()
	if err != nil {
		return err
	}
	if err = do(db); damaged(err) {
		return errors.Join(errDamaged, x.discard(db))
	}
	return err
}

func (x *Index) discard(db *sql.DB) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.db != db {
		return nil // somebody else has
	}
	unlock, err := x.lock()
	if err != nil {
		return err
	}
	defer unlock()
	x.db = nil
	x.remove()
	db.Close() // what it says of a damaged file is of no interest
	return nil
}

// Result codes of SQLite (sqlite.org/rescode.html).
const (
	sqliteError   = 1
	sqliteCorrupt = 11
	sqliteNotADB  = 26
)

// damaged reports whether an error says that the file is not what this package
// wrote.
func damaged(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return errors.Is(err, errRow)
	}
	switch e.Code() & 0xff {
	case sqliteCorrupt, sqliteNotADB:
		return true
	case sqliteError:
		return strings.Contains(e.Error(), "no such") // table or column
	}
	return false
}

// errRow is a row that this package can not have written.
var errRow = errors.New("a row of the index makes no sense")

// The number of a session orders by time, newest last: it is the time of its ID,
// and 15 bits that tell apart those of one millisecond.
//
// The index of words has no texts and no positions (contentless, detail=column):
// it says in which sessions all the trigrams of a text are, and texts says
// whether the text is. The index of pairs does the same for texts that have no trigram:
// its words are made by pairs (text.go).
const schema = `
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS sessions(
	num INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, day TEXT NOT NULL, code TEXT NOT NULL, target TEXT NOT NULL, mode TEXT NOT NULL,
	cause TEXT NOT NULL, flags TEXT NOT NULL, started INTEGER NOT NULL, contents INTEGER NOT NULL, cut INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS sessions_day ON sessions(day);
CREATE INDEX IF NOT EXISTS sessions_code ON sessions(code);
CREATE INDEX IF NOT EXISTS sessions_contents ON sessions(contents, cut);
CREATE TABLE IF NOT EXISTS about(num INTEGER PRIMARY KEY, found TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS people(
	num INTEGER NOT NULL, part INTEGER NOT NULL, name TEXT NOT NULL, local TEXT NOT NULL, issuer TEXT NOT NULL, subject TEXT NOT NULL, same TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS people_num ON people(num);
CREATE INDEX IF NOT EXISTS people_name ON people(name, part, num);
CREATE INDEX IF NOT EXISTS people_local ON people(local, part, num);
CREATE INDEX IF NOT EXISTS people_subject ON people(subject, issuer, num);
CREATE INDEX IF NOT EXISTS people_same ON people(same, num);
CREATE TABLE IF NOT EXISTS texts(
	num INTEGER NOT NULL, seq INTEGER NOT NULL, screen INTEGER NOT NULL, at INTEGER NOT NULL, n INTEGER NOT NULL, text TEXT NOT NULL,
	PRIMARY KEY(num, seq)) WITHOUT ROWID;
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(
	said, shown, content='', contentless_delete=1, detail=column, tokenize='trigram case_sensitive 1');
CREATE VIRTUAL TABLE IF NOT EXISTS pairs USING fts5(
	said, shown, content='', contentless_delete=1, detail=column, tokenize='ascii');
CREATE TABLE IF NOT EXISTS troubles(id TEXT PRIMARY KEY, day TEXT NOT NULL, trouble TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL);
COMMIT;`

// States of the contents of a session.
const (
	unread    = 0
	indexed   = 1
	encrypted = 2
	broken    = 3
)

// Keys of meta, with times in Unix nanoseconds.
const (
	followed = "followed" // when the last days were looked at
	swept    = "swept"    // when all days were
)

func moment(ctx context.Context, db *sql.DB, key string) (time.Time, error) {
	var at int64
	err := db.QueryRowContext(ctx, "SELECT value FROM meta WHERE key = ?", key).Scan(&at)
	if errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, nil
	}
	return time.Unix(0, at), err
}

func setMoment(ctx context.Context, db *sql.DB, key string, at time.Time) error {
	_, err := db.ExecContext(ctx, "INSERT OR REPLACE INTO meta VALUES(?, ?)", key, at.UnixNano())
	return err
}

// Indexed says how much of the store is in the index.
func (x *Index) Indexed(ctx context.Context) (in session.Indexed, err error) {
	err = x.use(func(db *sql.DB) error {
		at, err := moment(ctx, db, followed)
		if err != nil {
			return err
		}
		all, err := moment(ctx, db, swept)
		if err != nil {
			return err
		}
		if !all.IsZero() {
			in.At = at
		}
		if err := count(ctx, db, &in); err != nil {
			return err
		}
		in.Troubles, err = troubles(ctx, db)
		return err
	})
	return in, err
}

func count(ctx context.Context, db *sql.DB, in *session.Indexed) error {
	rows, err := db.QueryContext(ctx, "SELECT contents, count(*), total(cut) FROM sessions GROUP BY contents")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var contents, n int
		var cut float64
		if err := rows.Scan(&contents, &n, &cut); err != nil {
			return err
		}
		in.Sessions += n
		in.Cut += int(cut)
		switch contents {
		case unread:
			in.Unread = n
		case encrypted:
			in.Encrypted = n
		case broken:
			in.Broken = n
		}
	}
	return rows.Err()
}

// mostTroubles is how many are told at once.
const mostTroubles = 10

// troubles are the recordings whose manifest can not be read, and why.
func troubles(ctx context.Context, db *sql.DB) ([]string, error) {
	return column(ctx, db, "SELECT trouble FROM troubles ORDER BY id DESC LIMIT ?", mostTroubles)
}
