// Package label says what a statement touches: ["select orders", "delete
// payments"]. It is for people who read and search; nothing is decided by it.
//
// Its one idea: PostgreSQL's own parser is the only one that reads all of SQL,
// and it is C code that strangers feed. It is compiled to WebAssembly
// (go-pgquery), and runs in a process of its own: this same binary run again
// (Main), with nothing in its environment and the lowest priority. If that
// process is slow, or dies, statements have no labels, and nothing else happens.
package label

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/wasilibs/go-pgquery/parser"

	"github.com/twokey/twokey/session"
)

// Bounds of a statement's labels.
const (
	maxText   = 64 << 10 // bytes of a statement; a longer one has no labels
	maxLabels = 32       // further ones are left out
	maxLength = 200      // bytes of one
	maxDepth  = 500      // of a parse tree; what is deeper is not looked at
)

// Of parses a text and says what its statements touch, each once. A
// label is a verb and a name as it is written, with its schema if that is, or
// session.Catalogue alone. The
// error is the parser's; without one the labels are not nil.
func Of(sql string) (labels []string, err error) {
	if len(sql) > maxText || strings.IndexByte(sql, 0) >= 0 {
		return nil, fmt.Errorf("these %d bytes are not parsed: the most is %d, and no NUL", len(sql), maxText)
	}
	defer func() { // a trap in the WebAssembly
		if p := recover(); p != nil {
			err = fmt.Errorf("the parser broke: %v", p)
		}
	}()
	text, err := parser.ParseToJSON(sql)
	if err != nil {
		return nil, err
	}
	var tree struct{ Stmts []struct{ Stmt node } }
	if err := json.Unmarshal([]byte(text), &tree); err != nil {
		return nil, err
	}
	for _, s := range tree.Stmts {
		r := reader{named: map[string]bool{}}
		r.statement(s.Stmt, 0)
		labels = append(labels, r.labels...)
	}
	if len(labels) > 0 && !slices.ContainsFunc(labels, func(l string) bool { return !ofCatalogue(l) }) {
		return []string{session.Catalogue}, nil
	}
	seen := map[string]bool{}
	once := []string{}
	for _, l := range labels {
		if !seen[l] && len(once) < maxLabels {
			once = append(once, l)
		}
		seen[l] = true
	}
	return once, nil
}

// node is one of the parse tree: fields, or the type of a node and its fields.
type node = map[string]any

// reader reads one statement. What it does not know, it looks into for tables
// and functions all the same.
type reader struct {
	labels []string
	named  map[string]bool // by WITH, and so not a table
}

func (r *reader) add(verb, name string) {
	label := strings.TrimSpace(verb + " " + name)
	if label != "" && len(label) <= maxLength {
		r.labels = append(r.labels, label)
	}
}

// ofOwn are statements whose "relation" is what they are about, and which only
// read whatever else they name.
var ofOwn = map[string]string{"InsertStmt": "insert", "UpdateStmt": "update", "DeleteStmt": "delete", "MergeStmt": "merge"}

// statement takes a node such as {"SelectStmt": {…}}.
func (r *reader) statement(n node, depth int) {
	for kind, value := range n {
		fields, _ := value.(node)
		verb := verbOf(kind, fields)
		switch kind {
		case "SelectStmt":
			r.fields(fields, "select", "select", depth)
			continue
		case "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt":
			r.fields(fields, verb, "select", depth)
			continue
		case "TransactionStmt":
			continue
		}
		if call, ok := fields["funccall"].(node); ok && kind == "CallStmt" {
			r.add(verb, joined(call["funcname"]))
			r.look(call["args"], "select", depth+1)
			continue
		}
		before := len(r.labels)
		r.fields(fields, verb, verb, depth)
		if name := nameOf(fields); len(r.labels) == before || name != "" {
			r.add(verb, name)
		}
	}
}

// fields looks into a statement: verb is done to its relation, others to the rest.
func (r *reader) fields(fields node, verb, others string, depth int) {
	if with, ok := fields["withClause"].(node); ok {
		r.look(with, "select", depth+1)
	}
	for _, key := range sorted(fields) {
		switch key {
		case "withClause":
		case "relation":
			r.look(fields[key], verb, depth+1)
		case "intoClause":
			r.look(fields[key], "create", depth+1)
		default:
			r.look(fields[key], others, depth+1)
		}
	}
}

// look finds tables, functions and further statements in any part of the tree.
func (r *reader) look(part any, verb string, depth int) {
	if depth > maxDepth {
		return
	}
	switch part := part.(type) {
	case []any:
		for _, p := range part {
			r.look(p, verb, depth+1)
		}
	case node:
		if table, ok := part["relname"].(string); ok {
			r.table(part, table, verb)
			return
		}
		if name, ok := part["ctename"].(string); ok {
			r.named[name] = true
		}
		for _, key := range sorted(part) {
			fields, _ := part[key].(node)
			switch {
			case strings.HasSuffix(key, "Stmt") && fields != nil:
				r.statement(node{key: fields}, depth+1)
			case key == "FuncCall" && fields != nil:
				r.function(fields)
				r.look(fields["args"], verb, depth+1)
			case fields != nil && fields["withClause"] != nil: // an arm of UNION
				r.fields(fields, verb, verb, depth+1)
			default:
				r.look(part[key], verb, depth+1)
			}
		}
	}
}

func (r *reader) table(fields node, name, verb string) {
	schema, _ := fields["schemaname"].(string)
	if schema == "" && r.named[name] {
		return
	}
	if schema != "" {
		name = schema + "." + name
	}
	r.add(verb, name)
}

func (r *reader) function(call node) {
	name := strings.TrimPrefix(joined(call["funcname"]), "pg_catalog.")
	if !usual[name] {
		r.add("call", name)
	}
}

// joined is a name of several parts, each {"String": {"sval": …}}.
func joined(parts any) string {
	var names []string
	list, _ := parts.([]any)
	for _, p := range list {
		n, _ := p.(node)
		s, _ := n["String"].(node)
		if name, ok := s["sval"].(string); ok {
			names = append(names, name)
		}
	}
	return strings.Join(names, ".")
}

// nameOf is what a statement is about when that is not a relation.
func nameOf(fields node) string {
	for _, key := range []string{"name", "role", "rolename", "dbname", "extname", "schemaname", "conditionname", "portalname", "funcname", "defnames", "typeName", "subname", "pubname", "servername"} {
		switch v := fields[key].(type) {
		case string:
			return v
		case []any:
			return joined(v)
		case node:
			if name, ok := v["rolename"].(string); ok {
				return name
			}
		}
	}
	objects, _ := fields["objects"].([]any) // DROP and its kind
	var names []string
	for _, o := range objects {
		n, _ := o.(node)
		list, _ := n["List"].(node)
		if name := joined(list["items"]); name != "" {
			names = append(names, name)
		} else if name := joined([]any{o}); name != "" {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

var humps = regexp.MustCompile(`[A-Z][a-z]*`)

// verbOf is the verb of a kind of statement: its own, or its name in the parser.
func verbOf(kind string, fields node) string {
	if verb, ok := ofOwn[kind]; ok {
		return verb
	}
	object := func(key string) string {
		text, _ := fields[key].(string)
		return " " + strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(text, "OBJECT_"), "_", " "))
	}
	yes := func(key string) bool { b, _ := fields[key].(bool); return b }
	switch kind {
	case "CopyStmt":
		switch {
		case yes("is_program"):
			return "copy program"
		case yes("is_from"):
			return "copy in"
		}
		return "copy out"
	case "DropStmt":
		return "drop" + object("removeType")
	case "RenameStmt":
		return "rename" + object("renameType")
	case "GrantStmt", "GrantRoleStmt":
		if yes("is_grant") {
			return "grant"
		}
		return "revoke"
	case "VariableSetStmt":
		return "set"
	case "VariableShowStmt":
		return "show"
	case "CreateStmt", "CreateTableAsStmt":
		return "create table"
	case "IndexStmt":
		return "create index on"
	case "ViewStmt":
		return "create view"
	case "AlterTableStmt":
		return "alter" + object("objtype")
	}
	return strings.ToLower(strings.Join(humps.FindAllString(strings.TrimSuffix(kind, "Stmt"), -1), " "))
}

func sorted(n node) []string {
	keys := make([]string, 0, len(n))
	for k := range n {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// usual are functions that say nothing about a statement.
var usual = words(`count sum avg min max array_agg string_agg json_agg jsonb_agg json_build_object jsonb_build_object
	now clock_timestamp date_trunc date_part extract age timezone to_char to_date to_timestamp make_interval
	lower upper length char_length btrim ltrim rtrim substring substr replace position left right concat concat_ws format
	split_part regexp_replace regexp_matches overlay abs ceil floor round mod power sqrt random greatest least
	row_number rank dense_rank lag lead first_value last_value generate_series unnest array_length array_position
	array_to_string any_value bool_and bool_or every percentile_cont md5 encode decode
	like_escape similar_to_escape json_each jsonb_each jsonb_array_elements row_to_json to_json to_jsonb`)

// reads are functions with which clients read the catalogues.
var reads = regexp.MustCompile(`^(pg_get_\w+|pg_\w+_is_visible|has_\w+_privilege|pg_has_role|format_type|obj_description|col_description|shobj_description|quote_ident|current_\w+|version|pg_encoding_to_char|pg_(table|indexes|relation|total_relation|database|tablespace)_size|pg_size_pretty|array_(upper|lower|append|remove)|to_reg\w+|pg_is_in_recovery|pg_my_temp_schema|pg_is_other_temp_schema|pg_options_to_table|aclexplode|acldefault|translate|pg_char_to_encoding|pg_tablespace_location|pg_relation_is_publishable|pg_partition_\w+|pg_stat_get_\w+|current_setting|pg_backend_pid)$`)

// catalogues are those that clients name without their schema.
var catalogues = words(`pg_aggregate pg_am pg_amop pg_amproc pg_attrdef pg_attribute pg_auth_members pg_cast pg_class pg_collation
	pg_constraint pg_conversion pg_database pg_depend pg_description pg_enum pg_event_trigger pg_extension
	pg_foreign_data_wrapper pg_foreign_server pg_foreign_table pg_group pg_index pg_indexes pg_inherits pg_language
	pg_matviews pg_namespace pg_opclass pg_operator pg_opfamily pg_partitioned_table pg_policy pg_proc pg_publication
	pg_publication_tables pg_range pg_rewrite pg_roles pg_seclabel pg_sequence pg_sequences pg_settings pg_shdepend
	pg_shdescription pg_stat_activity pg_statistic_ext pg_stat_user_tables pg_tables pg_tablespace pg_timezone_names
	pg_trigger pg_ts_config pg_ts_dict pg_type pg_user pg_views`)

// ofCatalogue reports whether a label is of the system's catalogues alone.
func ofCatalogue(label string) bool {
	if name, ok := strings.CutPrefix(label, "select "); ok {
		return strings.HasPrefix(name, "pg_catalog.") || strings.HasPrefix(name, "information_schema.") || catalogues[name]
	}
	name, ok := strings.CutPrefix(label, "call ")
	return ok && reads.MatchString(name)
}

func words(text string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(text) {
		set[w] = true
	}
	return set
}
