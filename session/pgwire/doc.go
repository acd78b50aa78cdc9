// Package pgwire is the Postgres wire gateway: psql, or any other client, on
// one side, the database on the other, and the session's Door in between. It
// holds the database's credentials, so that no client ever does; it sees every
// statement as the database is about to receive it; and it can end a backend
// for certain.
//
// Its one idea: one outstanding statement. Nothing goes to the database but
// what was decoded, asked at the Door and encoded again; after a Query or a
// Sync the next message is not even read before the database has answered
// ReadyForQuery and that answer has been passed on. That is what makes the gate
// exact and a kill final.
//
// What a statement may do is the database role's business, and never decided by
// reading it. Where statements wait for a shadow's yes, their words choose
// in which of the database's own bounds they run before it. Names of prepared
// statements are resolved and COPY data is counted and hashed so that the tape
// can be read.
//
// The files: upstream.go logs in to the database, control.go keeps the
// connection that terminates, check.go is what the doctor asks; gateway.go
// accepts clients and startup.go greets them; link.go is one client's
// connection, with client.go reading its messages, server.go those of the
// database and dialogue.go what the two know of each other; kill.go ends it. approval.go and
// words.go hold statements for a shadow's yes; role.go makes a role for a session;
// secrets.go keeps passwords off the tape. reader.go, statement.go and text.go serve these.
//
// References: https://www.postgresql.org/docs/current/protocol.html
package pgwire
