package recorder_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The files of the half that writes recordings, of the half that reads and
// judges them, and what both know: the words of the format.
var (
	writers = []string{"recorder.go", "tape.go", "encode.go", "digest.go", "spool.go", "signature.go", "encrypt.go", "finish.go", "upload.go", "books.go", "deeds.go", "reviews.go", "orphans.go", "prune.go", "failpoint.go", "group.go", "disk_linux.go", "disk_other.go"}
	readers = []string{"archive.go", "decode.go", "scan.go", "glance.go", "open.go", "trust.go", "verify.go", "passage.go", "verify_all.go", "promise.go", "traces.go", "trail.go", "follow.go"}
	words   = []string{"format.go"}
)

// A mistake that writer and verifier share is one that nobody finds. So they
// share no code: nothing that a reader uses is declared in a writer's file.
func TestTheVerifierSharesNoCodeWithTheWriter(t *testing.T) {
	files := parse(t)
	for name := range files {
		if !slices.Contains(slices.Concat(writers, readers, words), name) {
			t.Errorf("%s is new: say whether it writes or reads", name)
		}
	}
	written := map[string]string{}
	for _, name := range writers {
		for _, what := range declared(files[name]) {
			written[what] = name
		}
	}
	delete(written, "Recorder") // an archive has one, where there is one, to note who looked
	for _, name := range readers {
		if files[name] == nil {
			t.Fatalf("%s is gone", name)
		}
		for _, d := range files[name].Decls {
			look(t, name, d, written)
		}
	}
}

// look complains about what a part of a reader uses of a writer.
func look(t *testing.T, file string, part ast.Node, written map[string]string) {
	ast.Inspect(part, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr: // x.name is somebody else's, and x may be ours
			look(t, file, n.X, written)
		case *ast.KeyValueExpr:
			look(t, file, n.Value, written)
		case *ast.Field: // its name is its own
			look(t, file, n.Type, written)
		case *ast.FuncDecl:
			look(t, file, n.Type, written)
			look(t, file, n.Body, written)
		case *ast.Ident:
			if from := written[n.Name]; from != "" && (n.Obj == nil || n.Obj.Kind != ast.Var) {
				t.Errorf("%s uses %s of %s", file, n.Name, from)
			}
		default:
			return true
		}
		return false
	})
}

func parse(t *testing.T) map[string]*ast.File {
	t.Helper()
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	files, set := map[string]*ast.File{}, token.NewFileSet()
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		if files[path], err = parser.ParseFile(set, path, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// declared are the names that a file declares for the package.
func declared(f *ast.File) (names []string) {
	if f == nil {
		return nil
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				names = append(names, d.Name.Name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					names = append(names, s.Name.Name)
				case *ast.ValueSpec:
					for _, id := range s.Names {
						names = append(names, id.Name)
					}
				}
			}
		}
	}
	return names
}
