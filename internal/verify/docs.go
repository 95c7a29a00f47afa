package verify

import (
	"fmt"
	"io"
	"strings"
)

// WriteDocs writes the table of checks, as docs/verify.md has it.
func WriteDocs(w io.Writer) {
	fmt.Fprintf(w, "| check | for | severity | what must hold | clause |\n| --- | --- | --- | --- | --- |\n")
	for _, c := range Checks() {
		fmt.Fprintf(w, "| `%s` | %s | %s | %s | %s |\n", c.ID, c.Protocol, c.Severity, strings.ReplaceAll(c.Rule, "|", "\\|"), c.Clause)
	}
}
