package aigateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/page"
)

// adminClient asks the admin API of a running gateway.
type adminClient struct {
	Address string // of Caddy's admin endpoint, "" for Caddy's default
	Config  string // the fleet's file, if the process has more than one
}

// addFlags gives cmd the flags that say whom to ask.
func (c *adminClient) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.Address, "address", "", "Caddy's admin endpoint, such as unix//run/caddy.sock (default "+caddy.DefaultAdminListen+", which CADDY_ADMIN moves)")
	cmd.Flags().StringVar(&c.Config, "config", "", "the fleet's file, if the gateway has more than one")
}

// open makes a request, whose answer the caller closes.
func (c *adminClient) open(method, path string, query url.Values) (*http.Response, error) {
	address, err := caddycmd.DetermineAdminAPIAddress(c.Address, nil, "", "")
	if err != nil {
		return nil, fmt.Errorf("finding the admin endpoint: %w", err)
	}
	if query == nil {
		query = make(url.Values)
	}
	if c.Config != "" {
		absolute, err := filepath.Abs(c.Config)
		if err != nil {
			return nil, fmt.Errorf("finding %s: %w", c.Config, err)
		}
		query.Set("config", absolute)
	}
	res, err := caddycmd.AdminAPIRequest(address, method, adminRoot+path+"?"+query.Encode(), nil, nil)
	if err != nil {
		return nil, toldError(address, err)
	}
	return res, nil
}

// toldError returns what the API has answered, if err of Caddy's client holds that.
func toldError(address string, err error) error {
	_, text, answered := strings.Cut(err.Error(), "caddy responded with error: HTTP ")
	if !answered {
		return fmt.Errorf("asking the gateway at %s: %w; is it running, and is this its admin endpoint (--address)?", address, err)
	}
	var e adminError
	if _, body, _ := strings.Cut(text, ": "); json.Unmarshal([]byte(body), &e) != nil || e.Code == "" {
		return fmt.Errorf("asking the gateway at %s: got HTTP %s, want the admin API of an ai_gateway", address, strings.TrimSpace(text))
	}
	var told strings.Builder
	told.WriteString(e.Message)
	if e.Code == "ambiguous_instance" || e.Code == "missing_config" || e.Code == "unknown_model" || e.Code == "unknown_config" {
		told.WriteString(": " + strings.Join(e.Allowed, ", "))
	}
	return errors.New(told.String())
}

// ask makes a request and reads its answer into v.
func (c *adminClient) ask(method, path string, query url.Values, v any) error {
	res, err := c.open(method, path, query)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(io.LimitReader(res.Body, 256<<20)).Decode(v); err != nil {
		return fmt.Errorf("reading the gateway's answer: %w", err)
	}
	return nil
}

// status returns how the fleet stands.
func (c *adminClient) status() (st *page.Status, err error) {
	err = c.ask(http.MethodGet, "/status", nil, &st)
	return st, err
}

// member asks for, or decides something about, the instance of that name.
func (c *adminClient) member(method, name, decision string, query url.Values) (m memberStatus, err error) {
	path := "/instances/" + url.PathEscape(name)
	if decision != "" {
		path += "/" + decision
	}
	err = c.ask(method, path, query, &m)
	return m, err
}
