package index

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"iter"
	"math"
	"strings"
	"time"

	"github.com/twokey/twokey/session"
)

// This file answers questions, newest first. Rows are fetched by the page, so
// that a slow reader holds nothing up.

const pageRows = 64

// Find yields the sessions that are looked for. An error ends it.
func (x *Index) Find(ctx context.Context, q session.Query) iter.Seq2[session.Found, error] {
	return func(yield func(session.Found, error) bool) {
		for c, err := range x.candidates(ctx, q, false) {
			if err == nil && q.Text != "" {
				var hits []session.Hit
				if hits, err = x.hits(ctx, c, q, 1); err == nil && len(hits) == 0 {
					continue
				}
			}
			if !yield(c.Found, err) || err != nil {
				return
			}
		}
	}
}

// Search yields every place that has the text. An error ends it.
func (x *Index) Search(ctx context.Context, q session.Query) iter.Seq2[session.Hit, error] {
	return func(yield func(session.Hit, error) bool) {
		for c, err := range x.candidates(ctx, q, q.Before.N > 0) {
			var hits []session.Hit
			if err == nil {
				hits, err = x.hits(ctx, c, q, -1)
			}
			if err != nil {
				yield(session.Hit{}, err)
				return
			}
			for _, hit := range hits {
				if !yield(hit, nil) {
					return
				}
			}
		}
	}
}

// Within yields every place of one recording that has the text, as the store has it
// now: it is for sessions that still run. An error comes last.
func (x *Index) Within(ctx context.Context, id string, q session.Query) iter.Seq2[session.Hit, error] {
	return func(yield func(session.Hit, error) bool) {
		c, err := x.readNow(ctx, id)
		folded := fold(q.Text)
		for i := len(c.texts) - 1; i >= 0; i-- {
			t := c.texts[i]
			if at := offset(t.text, folded); at >= 0 && (q.Screen || !t.screen) {
				if !yield(session.Hit{Place: session.Place{ID: id, N: i + 1}, At: t.at, N: t.n, Text: t.text, Offset: at}, nil) {
					return
				}
			}
		}
		if err != nil {
			yield(session.Hit{}, err)
		}
	}
}

// readNow reads a recording for somebody who waits. Few do at once: it costs as much
// as the recording is long, and others are at work here.
func (x *Index) readNow(ctx context.Context, id string) (contents, error) {
	select {
	case x.reading <- struct{}{}:
	case <-ctx.Done():
		return contents{}, ctx.Err()
	}
	defer func() { <-x.reading }()
	return read(x.archive().Events(ctx, id))
}

// candidate is a session that may be what is looked for.
type candidate struct {
	session.Found
	num int64
}

// candidates yields the sessions that have all that is looked for, and of the text all
// trigrams, or the pair or the one character that it is (text.go); with is whether the
// session of q.Before is one of them.
func (x *Index) candidates(ctx context.Context, q session.Query, with bool) iter.Seq2[candidate, error] {
	return func(yield func(candidate, error) bool) {
		below, err := x.below(ctx, q.Before.ID, with)
		for err == nil {
			var page []candidate
			if page, err = x.page(ctx, q, below); err != nil || len(page) == 0 {
				break
			}
			for _, c := range page {
				if q.Matches(c.Summary) && !yield(c, nil) {
					return
				}
			}
			below = page[len(page)-1].num
		}
		if err != nil {
			yield(candidate{}, err)
		}
	}
}

// below is the number below which those of the answer are.
func (x *Index) below(ctx context.Context, id string, with bool) (num int64, err error) {
	if id == "" {
		return math.MaxInt64, nil
	}
	err = x.use(func(db *sql.DB) error {
		err := db.QueryRowContext(ctx, "SELECT num FROM sessions WHERE id = ?", id).Scan(&num)
		if err == sql.ErrNoRows {
			num, err = firstNum(id), nil
		}
		return err
	})
	if with && num < math.MaxInt64 {
		num++
	}
	return num, err
}

// page returns the next candidates.
func (x *Index) page(ctx context.Context, q session.Query, below int64) (page []candidate, err error) {
	query, args := statement(q, below)
	err = x.use(func(db *sql.DB) error {
		page = nil
		rows, err := db.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var c candidate
			var text string
			var a about
			if err := rows.Scan(&c.num, &text); err != nil {
				return err
			}
			if err := json.Unmarshal([]byte(text), &a); err != nil {
				return fmt.Errorf("%w: %w", errRow, err)
			}
			c.Found = session.Found{Summary: a.Summary, Opened: a.Opened, Seated: a.Seated}
			page = append(page, c)
		}
		return rows.Err()
	})
	return page, err
}

// condition is what rows must be.
type condition struct {
	sql  []string
	args []any
}

func (c *condition) and(sql string, args ...any) {
	c.sql = append(c.sql, sql)
	c.args = append(c.args, args...)
}

func (c *condition) equal(column, value string) {
	if value != "" {
		c.and("s."+column+" = ?", value)
	}
}

// statement is the question in SQL. Whatever somebody typed is an argument, and never part of it.
func statement(q session.Query, below int64) (string, []any) {
	var c condition
	from, order := "sessions s", "s.num"
	if table, match := question(fold(q.Text), q.Screen); table != "" {
		from, order = table+" CROSS JOIN sessions s ON s.num = "+table+".rowid", table+".rowid"
		c.and(table+" MATCH ?", match)
	}
	c.and(order+" < ?", below)
	c.equal("id", q.ID)
	c.equal("code", q.Code)
	c.equal("target", q.Target)
	c.equal("mode", q.Mode)
	c.equal("cause", string(q.End))
	for _, flag := range q.Flags {
		c.and("instr(s.flags, ?) > 0", flags([]string{flag}))
	}
	if !q.Since.IsZero() {
		c.and("s.started >= ?", q.Since.UnixMicro())
	}
	if !q.Until.IsZero() {
		c.and("s.started <= ?", q.Until.UnixMicro())
	}
	c.person(engineer, q.Engineer)
	c.person(shadow, q.Shadow)
	if q.Seer != nil {
		c.seenBy(*q.Seer)
	}
	return fmt.Sprintf("SELECT s.num, (SELECT found FROM about WHERE about.num = s.num) FROM %s WHERE %s ORDER BY %s DESC LIMIT %d",
		from, strings.Join(c.sql, " AND "), order, pageRows), c.args
}

func (c *condition) person(part int, name string) {
	if name != "" {
		name = strings.ToLower(name)
		c.and("s.num IN (SELECT num FROM people WHERE name = ? AND part = ? UNION ALL SELECT num FROM people WHERE local = ? AND part = ?)", name, part, name, part)
	}
}

// seenBy leaves what a person may see: what they had a part in, and some modes.
func (c *condition) seenBy(who session.Seer) {
	if !who.Who.Valid() {
		c.and("0") // nobody sees nothing
		return
	}
	sql := "(s.num IN (SELECT num FROM people WHERE subject = ? AND issuer = ?"
	args := []any{who.Who.Subject, who.Who.Issuer}
	if same := who.Who.SamePerson; same != "" {
		sql += " UNION ALL SELECT num FROM people WHERE same = ?"
		args = append(args, same)
	}
	sql += ")"
	for _, m := range who.Modes {
		sql += " OR s.target = ? AND s.mode = ?"
		args = append(args, m.Target, m.Mode)
	}
	c.and(sql+")", args...)
}

// hits returns the places of a session that have the text, the last ones first; at most so
// many, or all when it is negative.
func (x *Index) hits(ctx context.Context, c candidate, q session.Query, most int) (hits []session.Hit, err error) {
	folded := fold(q.Text)
	before := int64(math.MaxInt64)
	if q.Before.ID == c.ID && q.Before.N > 0 {
		before = int64(q.Before.N)
	}
	err = x.use(func(db *sql.DB) error {
		hits = nil
		rows, err := db.QueryContext(ctx, "SELECT seq, at, n, text FROM texts WHERE num = ? AND seq < ? AND screen <= ? ORDER BY seq DESC", c.num, before, q.Screen)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() && len(hits) != most {
			hit := session.Hit{Found: c.Found, Place: session.Place{ID: c.ID}}
			var at int64
			if err := rows.Scan(&hit.Place.N, &at, &hit.N, &hit.Text); err != nil {
				return err
			}
			hit.At = time.Duration(at)
			if hit.Offset = offset(hit.Text, folded); hit.Offset >= 0 {
				hits = append(hits, hit)
			}
		}
		return rows.Err()
	})
	return hits, err
}
