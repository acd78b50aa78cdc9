package psql_test

import (
	"testing"

	"github.com/twokey/twokey/session/psql"
)

func TestCheckArgs(t *testing.T) {
	good := [][]string{
		{"--csv", "-c", "select 1"}, {"-Atc", "select 1"}, {"-f", "-"}, {"-f-"}, {"--file=-"}, {"--file", "-"},
		{"-v", "x=1"}, {"--set=x=1"}, {"-P", "pager=off"}, {"--tuples"}, {"-qAt", "-F", ","}, {"-c", "-h"}, {"-1"}, nil,
	}
	bad := [][]string{
		{"-h", "x"}, {"-hx"}, {"-Ath", "x"}, {"--host=x"}, {"--host", "x"}, {"--hos=x"}, {"-p1"}, {"-U", "x"}, {"-d", "x"}, {"--dbname=x"},
		{"postgres"}, {"postgres", "bob"}, {"--", "postgres"}, {"-o", "f"}, {"-L", "f"}, {"-f", "/etc/passwd"}, {"-f/etc/passwd"}, {"--file=x"},
		{"--file", "x"}, {"-W"}, {"-w"}, {"-s"}, {"-l"}, {"--nope"}, {"-k"}, {"--no"}, {"-c", "x", "y"}, {"-"}, {"--output=x"}, {""},
		{"-c", "a\x00b", "x"}, {"--dbn", "x"}, {"--field", "x"},
	}
	for _, args := range good {
		if err := psql.CheckArgs(args); err != nil {
			t.Errorf("%q: %v", args, err)
		}
	}
	for _, args := range bad {
		if psql.CheckArgs(args) == nil {
			t.Errorf("%q passed", args)
		}
	}
}
