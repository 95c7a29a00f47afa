package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/sealcast/sealcast/keystore"
	"github.com/sealcast/sealcast/keystore/vault"
)

const (
	kekFileName = "KEK_FILE"
	setKEKFile  = "a file of mode 0400 that has the lines KEK_PRIMARY=… and KEK_<n>=…"
)

// withKEKFile gives the environment with the variables of KEK_FILE in it, or
// the environment itself. What is in both is a fault.
func (l *loader) withKEKFile(environ environment) environment {
	path := environ[kekFileName]
	if path == "" {
		return environ
	}
	text, err := readPrivate(path)
	if err != nil {
		l.fault(kekFileName, err.Error(), setKEKFile)
		return environ
	}
	with := maps.Clone(environ)
	for n, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		switch {
		case !ok, name != "KEK_PRIMARY" && !kekRE.MatchString(name):
			// The line may have a KEK in it: it is not repeated.
			l.fault(kekFileName, fmt.Sprintf("has a line %d that is neither KEK_PRIMARY=… nor KEK_<n>=…", n+1), setKEKFile)
		case with[name] != "":
			l.fault(kekFileName, fmt.Sprintf("has %s in line %d, which is set already", name, n+1), "it in one place only")
		default:
			with[name] = value
		}
	}
	return with
}

// readPrivate reads a file that only its owner may read, and nobody may write.
func readPrivate(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", err)
	}
	defer f.Close()
	fi, err := f.Stat()
	switch {
	case err != nil:
		return "", fmt.Errorf("cannot be read: %w", err)
	case !fi.Mode().IsRegular():
		return "", fmt.Errorf("names %s, which is no file", path)
	case fi.Mode().Perm() != 0o400:
		return "", fmt.Errorf("names %s, whose mode is %04o and must be 0400: chmod 0400 %s", path, fi.Mode().Perm(), path)
	case fi.Size() > 1<<20:
		return "", fmt.Errorf("names %s, which is larger than 1 MiB", path)
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", err)
	}
	return string(text), nil
}

// checkVault holds KEKs that lie in Vault against what is needed to reach it.
func (l *loader) checkVault(c *kekConfig) {
	var uses bool
	for _, k := range c.Versions {
		uses = uses || k.name != ""
	}
	if uses && c.Vault == "" && !l.faulty("VAULT_ADDR") {
		l.fault("VAULT_ADDR", "is not set, and a KEK lies in Vault", "the server: https://vault.example.org:8200")
	}
	if uses && c.Token.reveal() == "" && !l.faulty("VAULT_TOKEN") {
		l.fault("VAULT_TOKEN", "is not set, and a KEK lies in Vault", "a token that may encrypt and decrypt with the transit keys")
	}
}

// keyring makes the keyring of the configured KEKs, wherever they lie.
func (c *kekConfig) keyring() (*keystore.Keyring, error) {
	inMemory := map[int][]byte{}
	for n, k := range c.Versions {
		if k.name == "" {
			inMemory[n] = []byte(k.reveal())
		}
	}
	aeads, err := keystore.Local(inMemory)
	if err != nil {
		return nil, err
	}
	if len(aeads) < len(c.Versions) {
		client, err := vault.New(vault.Config{Address: string(c.Vault), Token: c.Token.reveal(), Namespace: c.Namespace})
		if err != nil {
			return nil, err
		}
		for n, k := range c.Versions {
			if k.name != "" {
				aeads[n] = client.KEK(k.mount, k.name, k.version)
			}
		}
	}
	return keystore.NewKeyringOf(int(c.Primary), aeads)
}

// reloadKEKs reads KEK_FILE, and secrets that come from files, again at each
// SIGHUP, until ctx ends. What cannot be used is told, and changes nothing.
func (p *platform) reloadKEKs(ctx context.Context) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
		}
		next, err := p.cfg.KEK.again()
		var ring *keystore.Keyring
		if err == nil {
			ring, err = next.keyring()
		}
		if err == nil {
			err = p.keys.Reload(ctx, ring)
		}
		if err != nil {
			p.log.Error("the KEKs are as before: what was read cannot be used", "error", err)
			continue
		}
		p.log.Info("KEKs were read again", "versions", ring.Versions(), "primary", ring.Primary())
	}
}
