package aigateway

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/ledger"
)

// usageFolder is where what keys use is remembered, below data_dir.
const usageFolder = "usage"

// accounts count what the keys of one data_dir use. They live in a usage pool by the
// folder's absolute path, so that handlers, swaps and reloads share them.
type accounts struct {
	*ledger.Ledger
	dir    string
	logger atomic.Pointer[zap.Logger]
	reason atomic.Pointer[string] // why nothing is remembered, nil if it is
}

var accountsPool = caddy.NewUsagePool()

// acquireAccounts returns the accounts of dir.
func acquireAccounts(dir string, logger *zap.Logger) (*accounts, error) {
	v, _, err := accountsPool.LoadOrNew(dir, func() (caddy.Destructor, error) {
		a := &accounts{dir: filepath.Join(dir, usageFolder)}
		a.logger.Store(logger)
		a.Ledger = ledger.Open(ledger.Options{Store: ledger.NewFolder(a.dir), Failed: a.failed})
		return a, nil
	})
	if err != nil {
		return nil, fmt.Errorf("opening the accounts of %s: %w", dir, err)
	}
	a := v.(*accounts)
	a.logger.Store(logger)
	return a, nil
}

// releaseAccounts gives up one hold; the last one ends the accounts.
func releaseAccounts(a *accounts) error {
	_, err := accountsPool.Delete(filepath.Dir(a.dir))
	return err
}

// failed tells that nothing can be remembered, or, with nil, that it can be again.
func (a *accounts) failed(err error) {
	if err == nil {
		a.reason.Store(nil)
		a.logger.Load().Info("what keys use is remembered again", zap.String("path", a.dir))
		return
	}
	text := err.Error()
	a.reason.Store(&text)
	a.logger.Load().Error("what keys use is counted in memory alone, and lost with the process, until its folder can be used",
		zap.String("path", a.dir), zap.Error(err))
}

// book returns the ledger, nil for those of an open gateway.
func (a *accounts) book() *ledger.Ledger {
	if a == nil {
		return nil
	}
	return a.Ledger
}

// Destruct writes what is left.
func (a *accounts) Destruct() error {
	ended := make(chan error, 1)
	go func() { ended <- a.Close() }()
	select {
	case err := <-ended:
		if err != nil {
			return fmt.Errorf("ending the accounts of %s: %w", a.dir, err)
		}
		return nil
	case <-time.After(endTime): // a file system may hang
		return fmt.Errorf("accounts of %s have not ended within %v", a.dir, endTime)
	}
}

// newAccounts acquires the accounts that cfg needs, nil for an open gateway, and gives up
// those of the snapshot in force. The caller holds mu.
func (s *store) newAccounts(cfg *Config) (a *accounts, err error) {
	before := s.accounts
	if cfg.clientKeys != nil {
		if a, err = acquireAccounts(cfg.DataDir, s.logger.Load()); err != nil {
			return nil, err
		}
		a.SetZone(zoneOf(cfg))
	}
	s.accounts = a
	s.usage.Store(a)
	if before != nil {
		if err := releaseAccounts(before); err != nil { // no reason to refuse the new file
			s.logger.Load().Error("ending the accounts", zap.Error(err))
		}
	}
	return a, nil
}

func zoneOf(cfg *Config) *time.Location {
	if cfg.BudgetUTC {
		return time.UTC
	}
	return time.Local
}

var _ caddy.Destructor = (*accounts)(nil)
