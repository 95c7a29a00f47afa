package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"text/tabwriter"
)

// The exit codes. Help texts name them.
const (
	exitOK          = 0
	exitFailure     = 1   // something failed; the last line on stderr says what
	exitUsage       = 2   // wrong arguments or configuration
	exitJobFailed   = 3   // submit: the job ended as failed or cancelled
	exitRemains     = 4   // keys retire-kek, keys rewrap: content keys are left under the KEK version
	exitTampered    = 5   // keys verify-audit: the audit trail does not hold
	exitRefused     = 6   // verify: the presentation breaks a rule
	exitInterrupted = 130 // dev, demo, submit, verify: ended by a signal before the end
)

// command is one subcommand: what its help says, and what it does.
type command struct {
	name     string
	args     string // of the usage line
	summary  string // one line
	long     string // what it does, in sentences
	needs    func(*config) []any
	exits    []int
	newFlags func(*flag.FlagSet) action
	subs     []*command // whose names begin with this one's
}

// action runs a subcommand once its flags and its configuration are read.
type action func(ctx context.Context, s *session) error

// session is what a subcommand gets.
type session struct {
	args     []string // positional
	cfg      *config
	settings []setting
	environ  environment
	stdin    io.Reader
	stdout   io.Writer
	stderr   io.Writer
}

// commands returns the subcommands in the order of help.
func commands() []*command {
	return []*command{
		serveCommand(), apiCommand(), workerCommand(), migrateCommand(), gcCommand(), keysCommand(),
		devCommand(), demoCommand(), submitCommand(), tokenCommand(), verifyCommand(),
		checkConfigCommand(), versionCommand(), helpCommand(),
	}
}

// usageError is a mistake in the arguments.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

// exitError carries an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string { return e.err.Error() }
func (e exitError) Unwrap() error { return e.err }

// run is the program without the process: it returns the exit code.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	s := &session{
		cfg: &config{}, environ: parseEnviron(environ),
		stdin: stdin, stdout: stdout, stderr: stderr,
	}
	name, rest := "", []string(nil)
	if len(args) > 1 {
		name, rest = args[1], args[2:]
	}
	switch name {
	case "":
		writeOverview(stderr)
		return exitUsage
	case "-h", "-help", "--help":
		name, rest = "help", nil
	case "-version", "--version":
		name = "version"
	}
	cmd, err := findCommand(name)
	if err == nil && len(cmd.subs) > 0 && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		cmd, err = findCommand(name + " " + rest[0])
		rest = rest[1:]
	}
	if err != nil {
		fmt.Fprintf(stderr, "sealcast: %v\nRun 'sealcast help' for the list.\n", err)
		return exitUsage
	}
	return report(stderr, cmd, cmd.run(ctx, s, rest))
}

// run parses the arguments, reads the configuration, and acts.
func (c *command) run(ctx context.Context, s *session, args []string) error {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	act := c.newFlags(fs)
	positional, err := parseArgs(fs, args)
	if errors.Is(err, flag.ErrHelp) {
		c.writeHelp(s.stdout)
		return nil
	}
	if err != nil {
		return err
	}
	if c.args == "" && len(positional) > 0 {
		return usageError{fmt.Sprintf("unexpected argument %q", positional[0])}
	}
	s.args = positional
	if c.needs != nil {
		if s.settings, err = s.cfg.load(s.environ, c.needs); err != nil {
			return err
		}
	}
	return act(ctx, s)
}

// report prints an error and gives its exit code.
func report(stderr io.Writer, c *command, err error) int {
	if err == nil {
		return exitOK
	}
	var usage usageError
	var cfg *configError
	var exit exitError
	fmt.Fprintf(stderr, "sealcast %s: %v\n", c.name, err)
	switch {
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "Run 'sealcast help %s' for its usage.\n", c.name)
		return exitUsage
	case errors.As(err, &cfg):
		return exitUsage
	case errors.As(err, &exit):
		return exit.code
	}
	return exitFailure
}

// parseArgs parses flags that may stand before, between and behind positional
// arguments; after -- everything is positional.
func parseArgs(fs *flag.FlagSet, args []string) (positional []string, err error) {
	for {
		if err := fs.Parse(args); err != nil {
			return nil, explainFlag(fs, err)
		}
		rest := fs.Args()
		if len(rest) == 0 {
			return positional, nil
		}
		if used := len(args) - len(rest); used > 0 && args[used-1] == "--" {
			return append(positional, rest...), nil
		}
		positional, args = append(positional, rest[0]), rest[1:]
	}
}

// explainFlag adds the nearest flag to the complaint about an unknown one.
func explainFlag(fs *flag.FlagSet, err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		text = fmt.Sprintf("unknown flag -%s", name)
		var names []string
		fs.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
		if near := nearest(name, names); near != "" {
			text += fmt.Sprintf("; did you mean -%s?", near)
		}
	}
	return usageError{text}
}

func findCommand(name string) (*command, error) {
	var names []string
	for _, c := range commands() {
		for _, c := range append([]*command{c}, c.subs...) {
			if c.name == name {
				return c, nil
			}
			if strings.Contains(c.name, " ") == strings.Contains(name, " ") {
				names = append(names, c.name)
			}
		}
	}
	text := fmt.Sprintf("unknown command %q", name)
	if near := nearest(name, names); near != "" {
		text += fmt.Sprintf("; did you mean %q?", near)
	}
	return nil, usageError{text}
}

// nearest returns the name that is at most two edits from s, or begins with
// s; empty when there is none.
func nearest(s string, names []string) string {
	best, least := "", 3
	for _, n := range names {
		d := edits(s, n)
		if len(s) >= 2 && strings.HasPrefix(n, s) {
			d = min(d, 1)
		}
		if d < least && d < len(n) {
			best, least = n, d
		}
	}
	return best
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// writeOverview prints the list of subcommands.
func writeOverview(w io.Writer) {
	fmt.Fprintf(w, "sealcast turns uploaded video into encrypted streaming video and hands its keys to\nviewers with a playback token.\n\nUsage: sealcast COMMAND [arguments]\n\n")
	writeCommands(w, commands())
	fmt.Fprintf(w, "\nRun 'sealcast help COMMAND' for its flags, its environment and its exit codes.\nTo see it work: sealcast demo\n")
}

// writeHelp prints the help of one subcommand.
func (c *command) writeHelp(w io.Writer) {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	c.newFlags(fs)
	usage := "sealcast " + c.name
	flags := 0
	fs.VisitAll(func(*flag.Flag) { flags++ })
	if flags > 0 {
		usage += " [flags]"
	}
	if c.args != "" {
		usage += " " + c.args
	}
	fmt.Fprintf(w, "Usage: %s\n\n%s.\n\n%s\n", usage, capital(c.summary), strings.TrimSpace(c.long))
	if len(c.subs) > 0 {
		fmt.Fprintf(w, "\nCommands:\n")
		writeCommands(w, c.subs)
	}
	if flags > 0 {
		fmt.Fprintf(w, "\nFlags:\n")
		fs.SetOutput(w)
		fs.PrintDefaults()
	}
	if c.needs != nil {
		writeEnvironment(w, c.needs)
	}
	fmt.Fprintf(w, "\nExit codes:\n")
	for _, code := range c.exits {
		fmt.Fprintf(w, "  %-3d  %s\n", code, exitTexts[code])
	}
}

var exitTexts = map[int]string{
	exitOK:          "all went well",
	exitFailure:     "something failed; the last lines on stderr say what",
	exitUsage:       "wrong arguments, or faults in the configuration (all are reported)",
	exitJobFailed:   "the job ended as failed or cancelled; its code and message are printed",
	exitRemains:     "content keys are still sealed under the KEK version; how many is printed",
	exitTampered:    "the audit trail does not hold: its first bad entry is printed, or the chain that it may have replaced",
	exitRefused:     "the presentation breaks a rule (with -strict: or does not follow a recommendation)",
	exitInterrupted: "ended by a signal before it was through",
}

// writeEnvironment prints the variables of a subcommand, required ones first.
func writeEnvironment(w io.Writer, needs func(*config) []any) {
	var vars []variable
	for _, concern := range needs(&config{}) {
		vars = append(vars, variablesOf(concern)...)
		if _, ok := concern.(*kekConfig); ok {
			vars = append(vars, variable{name: "KEK_<n>", set: setKEK, required: true, secret: true})
		}
	}
	slices.SortStableFunc(vars, func(a, b variable) int {
		switch {
		case a.required == b.required:
			return 0
		case a.required:
			return -1
		}
		return 1
	})
	fmt.Fprintf(w, "\nEnvironment (* required, + also as NAME_FILE: the name of a file that has the value):\n")
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, v := range vars {
		mark := ""
		if v.required {
			mark += "*"
		}
		if v.secret {
			mark += "+"
		}
		text := v.set
		if v.byDefault != "" {
			text += " (default " + v.byDefault + ")"
		}
		fmt.Fprintf(tw, "  %s\t%s\t%s\n", v.name, mark, text)
	}
	_ = tw.Flush()
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// newLogger returns the logger that LOG_LEVEL and LOG_FORMAT ask for.
func newLogger(cfg logConfig, w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: cfg.Level.Level}
	if cfg.Format == "text" || (cfg.Format == "" && isTerminal(w)) {
		return slog.New(slog.NewTextHandler(w, opts))
	}
	return slog.New(slog.NewJSONHandler(w, opts))
}

func helpCommand() *command {
	return &command{
		name: "help", args: "[COMMAND]", summary: "show the list of commands, or what one of them does",
		long:  "Without an argument the list of commands, else the help of one.",
		exits: []int{exitOK, exitUsage},
		newFlags: func(*flag.FlagSet) action {
			return func(_ context.Context, s *session) error {
				switch len(s.args) {
				case 0:
					writeOverview(s.stdout)
					return nil
				case 1, 2:
					c, err := findCommand(strings.Join(s.args, " "))
					if err == nil {
						c.writeHelp(s.stdout)
					}
					return err
				}
				return usageError{"give one command at most"}
			}
		},
	}
}

// writeCommands prints a table of subcommands.
func writeCommands(w io.Writer, list []*command) {
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, c := range list {
		fmt.Fprintf(tw, "  %s\t%s\n", c.name, c.summary)
	}
	_ = tw.Flush()
}
