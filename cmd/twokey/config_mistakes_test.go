package main

import (
	"strings"
	"testing"
)

// mistakes are edits of the whole configuration, and what is said about each.
var mistakes = []struct {
	name, old, new string
	want           []string
}{
	{"an unknown key at the top", "state: /var", "sate: /var", []string{
		`twokey.yaml:3:1: unknown key "sate" in the configuration (did you mean "state"?); allowed: ssh, http, state, login, certificates, recordings, auditors, admins, targets, cage, history, drain, notify, monitor`,
	}},
	{"an unknown key with no near one", "auditors: {groups", "watchers: {groups", []string{
		`twokey.yaml:17:1: unknown key "watchers" in the configuration; allowed: ssh, http, state, login, certificates, recordings, auditors, admins, targets, cage, history, drain, notify, monitor`,
	}},
	{"what is no key at all", "auditors: {groups", `"root:*:20228:0:99999:7::": {groups`, []string{
		`twokey.yaml:17:1: unknown key in the configuration; allowed: ssh, http, state, login, certificates, recordings, auditors, admins, targets, cage, history, drain, notify, monitor`,
	}},
	{"an unknown key in a section", `{listen: ":2222"`, `{lisen: ":2222"`, []string{
		`twokey.yaml:1:9: unknown key "lisen" in ssh (did you mean "listen"?); allowed: listen, host_key, name, proxies`,
	}},
	{"an unknown key deep in a list", "limits: {wait: 15m", "limits: {wiat: 15m", []string{
		`twokey.yaml:33:18: unknown key "wiat" in limits (did you mean "wait"?); allowed: wait, duration, idle, grace, presence, approval, rows, statement_timeout, idle_in_transaction_session_timeout`,
	}},
	{"an escape in a key", "team: department", "\"t\\e[31m\": department", []string{
		"twokey.yaml:9:41: \"t\\x1b[31m\" is not a role's name; allowed: name, groups, same_person, and your own of the letters a-z, 0-9 and _, such as team",
		`twokey.yaml:30:65: other: login.claims has no "team"; add it there, such as claims: {team: department}`,
	}},
	{"a doubled key", "state: /var/lib/twokey", "state: /var/lib/twokey\nstate: /srv", []string{
		`twokey.yaml:4:1: the key "state" is given twice, first in line 3`,
	}},
	{"a doubled key in a flow mapping", "{count: 1, groups", "{count: 1, count: 2, groups", []string{
		`twokey.yaml:30:30: the key "count" is given twice, first in line 30`,
	}},
	{"a key in capitals", "admins: ", "Admins: ", []string{
		`twokey.yaml:18:1: unknown key "Admins" in the configuration (did you mean "admins"?); allowed: ssh, http, state, login, certificates, recordings, auditors, admins, targets, cage, history, drain, notify, monitor`,
	}},
	{"a missing section", "state: /var/lib/twokey\n", "", []string{
		`twokey.yaml:1:1: the configuration: the key "state" is missing`,
	}},
	{"a missing key", `ssh:   {listen: ":2222", host_key: {file: keys/host}}`, `ssh:   {listen: ":2222"}`, []string{
		`twokey.yaml:1:1: ssh: the key "host_key" is missing`,
	}},
	{"a missing key in a list", "  - name: orders\n    postgres", "  - postgres", []string{
		`twokey.yaml:20:5: target: the key "name" is missing`,
	}},
	{"a section without a value", "state: /var/lib/twokey", "state:", []string{
		"twokey.yaml:3:1: state: has no value; expected text",
	}},
	{"text for a mapping", "{user_ca: {file: keys/user_ca}, host_ca: {file: keys/host_ca}, ttl: 8h, source_address: false}", "keys", []string{
		"twokey.yaml:10:15: certificates: expected a mapping of user_ca, host_ca, old_user_cas, other_host_cas, ttl, source_address, not text",
	}},
	{"a list for a mapping", "admins:   {groups: [platform]}", "admins:   [platform]", []string{
		"twokey.yaml:18:11: admins: expected a mapping of groups, not a list",
	}},
	{"a mapping for text", "state: /var/lib/twokey", "state: {path: /var/lib/twokey}", []string{
		"twokey.yaml:3:8: state: expected text, not a mapping",
	}},
	{"text for a list", "auditors: {groups: [security]}", "auditors: {groups: security}", []string{
		"twokey.yaml:17:20: groups: expected a list of groups, not text",
	}},
	{"a number for text", "database: orders,", "database: 2024,", []string{
		`twokey.yaml:21:55: database: expected text, not a number; put it in quotes: "2024"`,
	}},
	{"true for text", "client_id: twokey", "client_id: yes\n  client_id: true", []string{
		`twokey.yaml:7:3: the key "client_id" is given twice, first in line 6`,
	}},
	{"text for a number", "port: 5432", "port: postgres", []string{
		"twokey.yaml:21:39: port: expected a number from 1 to 65535, not text",
	}},
	{"a quoted number", "port: 5432", `port: "5432"`, []string{
		"twokey.yaml:21:39: port: expected a number from 1 to 65535, not text",
	}},
	{"text for true or false", "source_address: false", "source_address: no", []string{
		"twokey.yaml:10:103: source_address: expected true or false, not text",
	}},
	{"empty text", "client_id: twokey", `client_id: ""`, []string{
		"twokey.yaml:6:14: client_id: is empty",
	}},
	{"a line break in text", "client_id: twokey", `client_id: "two\nkey"`, []string{
		"twokey.yaml:6:14: client_id: has a line break or another control character in it",
	}},
	{"not YAML: a tab", "  client_id: twokey", "\tclient_id: twokey", []string{
		"twokey.yaml:6:1: not YAML: a tab; indent with spaces",
	}},
	{"not YAML: an open bracket", "scopes: [openid, email, profile, groups]", "scopes: [openid, email", []string{
		"twokey.yaml:9:3: not YAML: ',' or ']' must be specified",
	}},
	{"not YAML: an open quote", "state: /var/lib/twokey", `state: "/var`, []string{
		"twokey.yaml:13:19: not YAML: value is not allowed in this context. map key-value is pre-defined",
	}},
	{"an anchor and an alias", "state: /var/lib/twokey", "state: &a /var\nother: *a", []string{
		"twokey.yaml:3:8: anchors, aliases and merge keys are not allowed; write the value out",
		"twokey.yaml:4:8: anchors, aliases and merge keys are not allowed; write the value out",
	}},
	{"a merge key", "auditors: {groups: [security]}", "auditors:\n  <<: {groups: [security]}", []string{
		"twokey.yaml:18:3: anchors, aliases and merge keys are not allowed; write the value out",
	}},
	{"a tag", "state: /var/lib/twokey", "state: !!str /var", []string{
		"twokey.yaml:3:8: tags are not allowed; put text in quotes",
	}},
	{"a complex key", "state: /var/lib/twokey", "? state\n: /var", []string{
		"twokey.yaml:3:1: complex keys (?) are not allowed; write key: value",
	}},
	{"a second document", "targets:", "---\ntargets:", []string{
		"twokey.yaml:20:1: a second document begins here; a configuration is one document",
	}},
	{"a listen address without a port", `listen: ":2222"`, "listen: localhost", []string{
		`twokey.yaml:1:17: listen: "localhost" is not an address; expected HOST:PORT or :PORT, such as :2222 or 127.0.0.1:2222`,
	}},
	{"a listen address that is a number", `listen: ":2222"`, "listen: 2222", []string{
		`twokey.yaml:1:17: listen: expected text, not a number; put it in quotes: "2222"`,
	}},
	{"a port out of range", `listen: ":2222"`, `listen: ":70000"`, []string{
		`twokey.yaml:1:17: listen: "70000" is not a port; allowed: 1 to 65535`,
	}},
	{"a named port", `listen: ":2222"`, `listen: ":ssh"`, []string{
		`twokey.yaml:1:17: listen: "ssh" is not a port; allowed: 1 to 65535`,
	}},
	{"a bad host to listen on", `listen: ":2222"`, `listen: "a b:22"`, []string{
		`twokey.yaml:1:17: listen: "a b" is not a host; expected a name, an address or nothing for all addresses`,
	}},
	{"a name that nobody can reach", "host_key: {file: keys/host}", "name: \"ssh://b\", host_key: {file: keys/host}", []string{
		`twokey.yaml:1:32: name: "ssh://b" is not how people reach a bastion; expected HOST or HOST:PORT, such as bastion.example.com`,
	}},
	{"two doors at one address", `listen: ":8022"`, `listen: "127.0.0.1:2222"`, []string{
		"twokey.yaml:2:17: listen: 127.0.0.1:2222 is taken by ssh.listen",
	}},
	{"a key written out", "host_key: {file: keys/host}", "host_key: keys/host", []string{
		"twokey.yaml:1:36: host_key: expected {file: PATH} or {env: NAME}; `twokey init` makes the keys, not text",
	}},
	{"a secret with two places", "host_key: {file: keys/host}", "host_key: {file: keys/host, env: KEY}", []string{
		"twokey.yaml:1:36: host_key: expected one of file and env; allowed: {file: PATH} or {env: NAME}; `twokey init` makes the keys",
	}},
	{"a secret with no place", "host_key: {file: keys/host}", "host_key: {}", []string{
		"twokey.yaml:1:36: host_key: expected one of file and env; allowed: {file: PATH} or {env: NAME}; `twokey init` makes the keys",
	}},
	{"a secret with another place", "{env: TWOKEY_OIDC_SECRET}", "{vault: oidc}", []string{
		`twokey.yaml:7:19: unknown key "vault" in client_secret; allowed: file, env`,
	}},
	{"a variable with a bad name", "{env: TWOKEY_OIDC_SECRET}", `{env: "A B"}`, []string{
		`twokey.yaml:7:24: env: "A B" is not the name of an environment variable`,
	}},
	{"an agent without a key", "user_ca: {file: keys/user_ca}", "user_ca: {agent: /run/a.sock}", []string{
		`twokey.yaml:10:16: user_ca: the key "key" is missing`,
	}},
	{"an agent's key and a file's", "user_ca: {file: keys/user_ca}", "user_ca: {agent: /run/a.sock, key: a.pub, file: x}", []string{
		`twokey.yaml:10:58: unknown key "file" in user_ca; allowed: agent, key`,
	}},
	{"one agent's key for two", "{user_ca: {file: keys/user_ca}, host_ca: {file: keys/host_ca}", "{user_ca: {agent: /a, key: \"SHA256:x\"}, host_ca: {agent: /a, key: \"SHA256:x\"}", []string{
		"twokey.yaml:10:64: host_ca: is the same key as user_ca; one key, one purpose: give each its own",
	}},
	{"an old CA without an end", "ttl: 8h", "old_user_cas: [{file: a.pub}]", []string{
		`twokey.yaml:10:93: old_user_cas: the key "until" is missing`,
	}},
	{"an old CA until some day", "ttl: 8h", "old_user_cas: [{file: a.pub, until: soon}]", []string{
		`twokey.yaml:10:114: until: "soon" is no point in time; expected one such as 2026-11-30T12:00:00Z`,
	}},
	{"one key for two purposes", "host_ca: {file: keys/host_ca}", "host_ca: {file: ./keys/user_ca}", []string{
		"twokey.yaml:10:56: host_ca: is the same key as user_ca; one key, one purpose: give each its own",
	}},
	{"a URL of another scheme", "https://bastion.example.com", "ftp://bastion.example.com", []string{
		`twokey.yaml:2:31: url: "ftp://bastion.example.com" has another scheme; allowed: http://, https://`,
	}},
	{"a URL with a path", "https://bastion.example.com", "https://example.com/bastion", []string{
		`twokey.yaml:2:31: url: has the path "/bastion"; the pages live at the top of a host, such as https://bastion.example.com`,
	}},
	{"a URL with a user", "https://bastion.example.com", "https://a:b@example.com", []string{
		"twokey.yaml:2:31: url: has a user or password in it; remove it",
	}},
	{"a URL with a query", "https://bastion.example.com", "https://example.com?x=1", []string{
		"twokey.yaml:2:31: url: has a query or fragment (? or #) in it; remove it",
	}},
	{"a URL without a host", "https://bastion.example.com", "https://", []string{
		`twokey.yaml:2:31: url: "https://" has no host`,
	}},
	{"plain http to the world", "https://bastion.example.com", "http://bastion.example.com", []string{
		"twokey.yaml:2:31: url: plain http is for loopback only; write https://bastion.example.com",
	}},
	{"plain http on all addresses", "https://bastion.example.com", "http://localhost:8022", []string{
		"twokey.yaml:2:17: listen: plain http is for loopback only; listen on 127.0.0.1, or give tls: {cert: FILE, key: FILE} and an https url",
	}},
	{"plain http beside tls", `http:  {listen: ":8022", url: "https://bastion.example.com"}`, `http:  {listen: "127.0.0.1:8022", url: "http://localhost", tls: {cert: c.pem, key: k.pem}}`, []string{
		"twokey.yaml:2:40: url: is http:// although tls is configured; write https://",
	}},
	{"half a tls", `url: "https://bastion.example.com"}`, `url: "https://bastion.example.com", tls: {cert: c.pem}}`, []string{
		`twokey.yaml:2:62: tls: the key "key" is missing`,
	}},
	{"an issuer over plain http", "issuer: https://", "issuer: http://", []string{
		"twokey.yaml:5:11: issuer: plain http is for loopback only; write https://idp.example.com",
	}},
	{"scopes without openid", "scopes: [openid, email,", "scopes: [email,", []string{
		"twokey.yaml:8:11: scopes: openid is missing; without it the provider says nothing about the person",
	}},
	{"scopes in one text", "[openid, email, profile, groups]", "[openid email]", []string{
		`twokey.yaml:8:11: scopes: "openid email" is not one scope; write a list: [openid, email]`,
	}},
	{"an empty list", "auditors: {groups: [security]}", "auditors: {groups: []}", []string{
		"twokey.yaml:17:20: groups: has 0 entries; allowed: 1 to 256",
	}},
	{"a group named twice", "auditors: {groups: [security]}", "auditors: {groups: [security, dba, security]}", []string{
		`twokey.yaml:17:36: groups: "security" is given twice`,
	}},
	{"an empty entry in a list", "auditors: {groups: [security]}", "auditors:\n  groups:\n    - security\n    -", []string{
		"twokey.yaml:20:5: groups: has no value; expected text",
	}},
	{"a claim under a bad name", "team: department", "Team: department", []string{
		`twokey.yaml:9:41: "Team" is not a role's name; allowed: name, groups, same_person, and your own of the letters a-z, 0-9 and _, such as team`,
		`twokey.yaml:30:65: other: login.claims has no "team"; add it there, such as claims: {team: department}`,
	}},
	{"certificates for too long", "ttl: 8h", "ttl: 25h", []string{
		"twokey.yaml:10:83: ttl: 25h is out of range; allowed: 1m to 24h",
	}},
	{"certificates for too short", "ttl: 8h", "ttl: 10s", []string{
		"twokey.yaml:10:83: ttl: 10s is out of range; allowed: 1m to 24h",
	}},
	{"a duration without a unit", "ttl: 8h", "ttl: 8", []string{
		`twokey.yaml:10:83: ttl: "8" has no unit; write 8s, 8m or 8h`,
	}},
	{"a duration that is none", "ttl: 8h", `ttl: "8 hours"`, []string{
		`twokey.yaml:10:83: ttl: "8 hours" is not a duration; expected one such as 30s, 15m, 8h or 7d`,
	}},
	{"a duration below zero", "ttl: 8h", "ttl: -8h", []string{
		"twokey.yaml:10:83: ttl: -8h is out of range; allowed: 1m to 24h",
	}},
	{"another kind of store", "s3://recordings/prod", "gs://recordings/prod", []string{
		`twokey.yaml:12:10: store: "gs://recordings/prod" has another scheme; allowed: s3://, file://`,
	}},
	{"a bucket that is none", "s3://recordings/prod", "s3://Recordings/prod", []string{
		`twokey.yaml:12:10: store: "Recordings" is not a bucket's name; expected s3://BUCKET or s3://BUCKET/PREFIX`,
	}},
	{"a prefix that climbs", "s3://recordings/prod", "s3://recordings/../prod", []string{
		`twokey.yaml:12:10: store: the prefix "../prod" cannot be one; allowed: parts of A-Z, a-z, 0-9 and . _ - + @ with single slashes between, none beginning with a dot`,
	}},
	{"a folder with two slashes", "s3://recordings/prod", "file://recordings", []string{
		"twokey.yaml:12:10: store: a folder is written with three slashes: file:///var/lib/twokey/recordings",
	}},
	{"a folder with s3 beside it", "s3://recordings/prod", "file:///srv/recordings", []string{
		"twokey.yaml:13:3: s3: the store is a folder; leave this section out",
	}},
	{"a bucket without s3", "  s3: {endpoint: \"https://s3.example.com\", region: us-east-1, access_key: {env: AK}, secret_key: {env: SK}}\n", "", []string{
		"twokey.yaml:12:10: store: needs an s3 section beside it: s3: {endpoint: URL, access_key: …, secret_key: …}",
	}},
	{"an endpoint with a path", "https://s3.example.com", "https://s3.example.com/recordings", []string{
		`twokey.yaml:13:18: endpoint: has the path "/recordings"; write the bucket in store: s3://BUCKET/PREFIX`,
	}},
	{"the store in the state", "  store: s3://recordings/prod\n  s3: {endpoint: \"https://s3.example.com\", region: us-east-1, access_key: {env: AK}, secret_key: {env: SK}}\n", "  store: file:///var/lib/twokey\n", []string{
		"twokey.yaml:12:10: store: the folder is that of state; give the recordings their own",
	}},
	{"a size without a unit", "bytes: 256KiB", "bytes: 262144", []string{
		`twokey.yaml:14:31: bytes: "262144" has no unit; write 262144B, or a number of KiB or MiB`,
	}},
	{"a size with a fraction", "bytes: 256KiB", "bytes: 0.5MiB", []string{
		`twokey.yaml:14:31: bytes: "0.5MiB" is not a size; expected a whole number with a unit: B, KiB, MiB or GiB`,
	}},
	{"a size out of range", "bytes: 256KiB", "bytes: 1GiB", []string{
		"twokey.yaml:14:31: bytes: 1GiB is out of range; allowed: 4KiB to 16MiB",
	}},
	{"less lag than a segment", "bytes: 64MiB", "bytes: 128KiB", []string{
		"twokey.yaml:16:31: bytes: is less than one segment (segment.bytes is 256KiB): the gate would never stay open",
	}},
	{"less lag than two segments' time", "every: 1s", "every: 40s", []string{
		"twokey.yaml:16:19: time: is less than two segments (segment.every is 40s): the gate would shut all the time",
	}},
	{"a target's name in capitals", "- name: orders", "- name: Orders", []string{
		`twokey.yaml:20:11: name: "Orders" cannot be a name; allowed: a letter a-z, then up to 62 of a-z, 0-9 and -`,
	}},
	{"a target's name with a plus", "- name: orders", "- name: orders+write", []string{
		`twokey.yaml:20:11: name: "orders+write" cannot be a name; allowed: a letter a-z, then up to 62 of a-z, 0-9 and -`,
	}},
	{"a target's name too long", "- name: orders", "- name: oooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooo", []string{
		`twokey.yaml:20:11: name: "oooooooooooooooooooooooooooooooooooooooooooooooooooooooooooo…" cannot be a name; allowed: a letter a-z, then up to 62 of a-z, 0-9 and -`,
	}},
	{"a target called lobby", "- name: orders", "- name: lobby", []string{
		`twokey.yaml:20:11: name: "lobby" is the word for the lobby; choose another name`,
	}},
	{"a mode named twice", "- name: write", "- name: read", []string{
		`twokey.yaml:27:15: name: "read" is given twice, first in line 23`,
	}},
	{"an unknown sslmode", "sslmode: verify-full", "sslmode: verify-fill", []string{
		`twokey.yaml:21:72: sslmode: "verify-fill" is not known (did you mean "verify-full"?); allowed: disable, allow, prefer, require, verify-ca, verify-full`,
	}},
	{"sslmode on a socket", "host: orders-db", "host: /run/postgresql", []string{
		"twokey.yaml:21:78: sslmode: there is no TLS on a unix socket; leave it out",
	}},
	{"superuser: another role", "{user: app_rw,", "{user: app_rw, superuser: postgres,", []string{
		`twokey.yaml:28:42: superuser: repeats the user when that role is a superuser and shall be one; write "app_rw" or leave it out`,
	}},
	{"a host with a port", "host: orders-db", `host: "orders-db:5432"`, []string{
		`twokey.yaml:21:22: host: "orders-db:5432" is not a host; expected a name, an address, or the folder of a socket`,
	}},
	{"a port out of range", "port: 5432", "port: 0", []string{
		"twokey.yaml:21:39: port: 0 is out of range; allowed: 1 to 65535",
	}},
	{"no engineers", "login: {user: app_ro, password: {file: secrets/ro}}\n        engineers: {groups: [engineering]}", "login: {user: app_ro, password: {file: secrets/ro}}", []string{
		`twokey.yaml:23:9: mode: the key "engineers" is missing`,
	}},
	{"engineers without groups", "login: {user: app_ro, password: {file: secrets/ro}}\n        engineers: {groups: [engineering]}", "login: {user: app_ro, password: {file: secrets/ro}}\n        engineers: {}", []string{
		`twokey.yaml:25:9: engineers: the key "groups" is missing`,
	}},
	{"no shadows, not said", "shadows: none", "shadows: []", []string{
		"twokey.yaml:26:18: shadows: is empty, which would mean that nobody watches; to allow that write shadows: none",
	}},
	{"shadows without a value", "shadows: none", "shadows:", []string{
		"twokey.yaml:26:9: shadows: has no value; expected a list of shadows, such as [{count: 1, groups: [dba]}], or none",
	}},
	{"shadows: another word", "shadows: none", "shadows: nobody", []string{
		"twokey.yaml:26:18: shadows: expected a list of shadows, such as [{count: 1, groups: [dba]}], or none, not text",
	}},
	{"shadows: a mapping", "shadows: none", "shadows: {count: 1}", []string{
		"twokey.yaml:26:18: shadows: expected a list of shadows, such as [{count: 1, groups: [dba]}], or none, not a mapping",
	}},
	{"a count of zero", "{count: 1,", "{count: 0,", []string{
		"twokey.yaml:30:27: count: 0 is out of range; allowed: 1 to 20",
	}},
	{"a count below zero", "{count: 1,", "{count: -1,", []string{
		"twokey.yaml:30:27: count: -1 is out of range; allowed: 1 to 20",
	}},
	{"too many shadows", "[{count: 1, groups: [engineering, dba], other: team}]", "[{count: 15}, {count: 15}]", []string{
		"twokey.yaml:30:18: shadows: asks for 30 people; allowed: at most 20",
	}},
	{"other: an unknown claim", "other: team", "other: tema", []string{
		`twokey.yaml:30:65: other: "tema" is not in login.claims (did you mean "team"?); allowed: team`,
	}},
	{"other: with no claim to differ in", ", team: department", "", []string{
		`twokey.yaml:30:65: other: login.claims has no "team"; add it there, such as claims: {team: department}`,
	}},
	{"an unknown word for reason", "reason: required", "reason: yes", []string{
		`twokey.yaml:32:17: reason: "yes" is not known; allowed: required, optional`,
	}},
	{"a wait of zero", "wait: 15m", "wait: 0s", []string{
		"twokey.yaml:33:24: wait: 0s is out of range; allowed: 1s to 24h",
	}},
	{"an idle limit of a week", "idle: 15m", "idle: 7d", []string{
		"twokey.yaml:33:49: idle: 7d is out of range; allowed: 1s to 24h",
	}},
	{"cage: another word", "admins: ", "cage: on\nadmins: ", []string{
		`twokey.yaml:18:7: cage: "on" is not known; allowed: off, {psql: PATH}`,
	}},
	{"cage: an unknown key", "admins: ", "cage: {shell: /bin/sh}\nadmins: ", []string{
		`twokey.yaml:18:1: cage: the key "psql" is missing`,
		`twokey.yaml:18:8: unknown key "shell" in cage; allowed: psql`,
	}},
	{"history: another word", "admins: ", "history: yes\nadmins: ", []string{
		`twokey.yaml:18:10: history: "yes" is not known; allowed: on, off`,
	}},
	{"history without a value", "admins: ", "history:\nadmins: ", []string{
		"twokey.yaml:18:1: history: has no value; expected on or off",
	}},
	{"cage without a value", "admins: ", "cage:\nadmins: ", []string{
		"twokey.yaml:18:1: cage: has no value; expected off or {psql: PATH}",
	}},
	{"approve where nobody watches", "shadows: none", "shadows: none\n        approve: each", []string{
		"twokey.yaml:27:18: approve: each waits for a shadow's yes, and this mode asks for no shadow",
	}},
	{"approve: another word", "approve: none", "approve: all", []string{
		`twokey.yaml:31:18: approve: "all" is not known; allowed: none, each, writes, commit`,
	}},
	{"presence where nobody watches", "shadows: none", "shadows: none\n        limits: {presence: 2m}", []string{
		"twokey.yaml:27:28: presence: asks a shadow to press a key, and this mode asks for no shadow",
	}},
	{"rows: none", "idle: 15m,", "idle: 15m, rows: 0,", []string{
		"twokey.yaml:33:60: rows: 0 is out of range; allowed: 1 to 1000000000000",
	}},
	{"glass that nobody may break", "{groups: [oncall], review: 12h}", "{groups: [], review: 12h}", []string{
		"twokey.yaml:34:31: groups: has 0 entries; allowed: 1 to 256",
	}},
	{"glass without groups", "{groups: [oncall], review: 12h}", "{review: 12h}", []string{
		`twokey.yaml:34:9: break_glass: the key "groups" is missing`,
	}},
	{"glass without a value", "{groups: [oncall], review: 12h}", "", []string{
		"twokey.yaml:34:9: break_glass: has no value; expected a mapping of groups, review",
	}},
	{"glass: an unknown key", "{groups: [oncall], review: 12h}", "{groups: [oncall], reveiw: 12h}", []string{
		`twokey.yaml:34:41: unknown key "reveiw" in break_glass (did you mean "review"?); allowed: groups, review`,
	}},
	{"a review in a hurry", "review: 12h", "review: 10m", []string{
		"twokey.yaml:34:49: review: 10m is out of range; allowed: 1h to 720h",
	}},
	{"a review that is never due", "review: 12h", "review: 31d", []string{
		"twokey.yaml:34:49: review: 31d is out of range; allowed: 1h to 720h",
	}},
	{"glass where nobody watches", "        shadows: none\n", "        shadows: none\n        break_glass: {groups: [oncall]}\n", []string{
		"twokey.yaml:27:22: break_glass: there is no glass to break where nobody has to watch (shadows: none); leave it out",
	}},
	{"a role per session without what it is a member of", "login: {user: app_rw, password: {file: secrets/rw}}", "login: {admin: {user: twokey, password: {file: x}}}", []string{
		`twokey.yaml:28:9: login: the key "member_of" is missing`,
	}},
	{"a role per session and one for all", "login: {user: app_rw, password: {file: secrets/rw}}", "login: {user: app_rw, admin: {user: twokey, password: {file: x}}, member_of: [app_rw]}", []string{
		`twokey.yaml:28:17: unknown key "user" in login; allowed: admin, member_of`,
	}},
	{"no password", "login: {user: app_rw, password: {file: secrets/rw}}", "login: {user: app_rw}", []string{
		`twokey.yaml:28:9: login: the key "password" is missing, or password_command, or sslcert`,
	}},
	{"half a certificate", "login: {user: app_rw, password: {file: secrets/rw}}", "login: {user: app_rw, sslcert: x.pem}", []string{
		"twokey.yaml:28:40: sslcert: needs sslkey beside it",
	}},
	{"two passwords", "login: {user: app_rw, password: {file: secrets/rw}}", "login: {user: app_rw, password: {file: x}, password_command: [pass, show, db]}", []string{
		"twokey.yaml:28:70: password_command: is one too many beside password",
	}},
	{"lock: for how long", "region: us-east-1,", "region: us-east-1, lock: {mode: compliance},", []string{
		"twokey.yaml:13:63: lock: the key \"days\" is missing",
	}},
	{"lock: another mode", "region: us-east-1,", "region: us-east-1, lock: {mode: soft, days: 1},", []string{
		"twokey.yaml:13:76: mode: \"soft\" is not known; allowed: compliance, governance",
	}},
	{"recipients: not of age's", "  signing_key:", "  recipients: [age1]\n  signing_key:", []string{
		"twokey.yaml:15:15: recipients: \"age1\" is no recipient of age's; age-keygen prints one: age1…",
	}},
	{"durability: another word", "  signing_key:", "  durability: sync\n  signing_key:", []string{
		"twokey.yaml:15:15: durability: \"sync\" is not known (did you mean \"synced\"?); allowed: spooled, synced",
	}},
	{"proxies: no address", "host_key: {", "proxies: [lb.example.com], host_key: {", []string{
		`twokey.yaml:1:36: proxies: "lb.example.com" is neither an address nor a network; write 10.0.0.4 or 10.0.1.0/24`,
	}},
	{"proxies: everybody", "host_key: {", "proxies: [0.0.0.0/0], host_key: {", []string{
		`twokey.yaml:1:36: proxies: "0.0.0.0/0" is everybody, who could then say to come from anywhere; name your proxies`,
	}},
	{"proxies: an address within a network", "host_key: {", "proxies: [10.0.0.4/8], host_key: {", []string{
		`twokey.yaml:1:36: proxies: "10.0.0.4/8" is an address within a network; write 10.0.0.0/8 for all of it, or 10.0.0.4`,
	}},
	{"monitor: an address that is taken", "admins: ", "monitor: {listen: ':2222'}\nadmins: ", []string{
		`twokey.yaml:18:19: listen: :2222 is taken by another part`,
	}},
	{"notify: neither", "admins: ", "notify: [{}]\nadmins: ", []string{
		"twokey.yaml:18:10: notify: expected one of webhook and slack in each item",
	}},
	{"notify: a webhook in the open", "admins: ", "notify: [{webhook: {url: http://ops.example.com/x, secret: {env: X}}}]\nadmins: ", []string{
		"twokey.yaml:18:26: url: plain http is for loopback only; write https://ops.example.com",
	}},
	{"notify: a webhook without a secret", "admins: ", "notify: [{webhook: {url: 'https://ops.example.com/x'}}]\nadmins: ", []string{
		`twokey.yaml:18:11: webhook: the key "secret" is missing`,
	}},
	{"two mistakes in one run", "ttl: 8h, source_address: false", "ttl: 8, source_address: maybe", []string{
		`twokey.yaml:10:83: ttl: "8" has no unit; write 8s, 8m or 8h`,
		"twokey.yaml:10:102: source_address: expected true or false, not text",
	}},
}

func TestMistakes(t *testing.T) {
	for _, c := range mistakes {
		t.Run(c.name, func(t *testing.T) {
			if !strings.Contains(whole, c.old) {
				t.Fatalf("the whole configuration has no %q", c.old)
			}
			_, err := parseConfig("twokey.yaml", []byte(strings.Replace(whole, c.old, c.new, 1)))
			if err == nil {
				t.Fatalf("nothing was said; want\n%s", strings.Join(c.want, "\n"))
			}
			if got, want := err.Error(), strings.Join(c.want, "\n"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}
