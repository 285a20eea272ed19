package alert

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"strings"
	"time"
)

// mailer sends mail: smtp://USER:PASSWORD@HOST:PORT/?from=a@x&to=b@y,c@z, or smtps://
// where TLS comes before the first word. Otherwise TLS is begun by STARTTLS if the
// server offers it, and always with ?requirestarttls=yes or a password.
type mailer struct {
	*address
	server   string // with port
	implicit bool
	starttls bool // without it nothing is sent
	from     *mail.Address
	to       []*mail.Address
}

func newSMTP(a *address) (channel, error) {
	if a.url.Hostname() == "" {
		return nil, errors.New("missing host, want smtp://USER:PASSWORD@HOST:PORT/?from=a@example.com&to=b@example.com")
	}
	_, password := a.url.User.Password()
	m := &mailer{
		address: a, implicit: a.name == "smtps" || strings.EqualFold(a.query.Get("encryption"), "implicittls"),
		starttls: password || yes(a.query.Get("requirestarttls")) || strings.EqualFold(a.query.Get("encryption"), "explicittls"),
	}
	port := a.url.Port()
	switch {
	case port == "465":
		m.implicit = true
	case port == "" && m.implicit:
		port = "465"
	case port == "":
		port = "25"
		if password {
			port = "587"
		}
	}
	m.server = net.JoinHostPort(a.url.Hostname(), port)
	from, to := a.query.Get("from"), a.query.Get("to")
	if from == "" {
		from = a.query.Get("fromaddress")
	}
	if to == "" {
		to = a.query.Get("toaddresses")
	}
	var err error
	if m.from, err = mail.ParseAddress(from); err != nil {
		return nil, errors.New("want the sender's mail address in ?from=")
	}
	if m.to, err = mail.ParseAddressList(to); err != nil || len(m.to) > 50 {
		return nil, errors.New("want 1 to 50 mail addresses in ?to=, with commas between")
	}
	return m, nil
}

func (m *mailer) send(ctx context.Context, msg *Message) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	dialer := net.Dialer{Timeout: sendTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", m.server)
	if err != nil {
		return "", &failure{text: "connecting to " + m.server, err: err}
	}
	defer conn.Close() //nolint:errcheck // the protocol's own end has been checked
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return "", &failure{text: "connecting to " + m.server, err: err}
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // what waits ends with an error
	defer stop()
	if err := m.deliver(conn, msg); err != nil {
		return "", mailFailure(m.server, err)
	}
	return "250, taken for delivery", nil
}

// deliver speaks SMTP on conn.
func (m *mailer) deliver(conn net.Conn, msg *Message) error {
	if m.implicit {
		conn = tls.Client(conn, m.tls())
	}
	c, err := smtp.NewClient(conn, m.url.Hostname())
	if err != nil {
		return err
	}
	if ok, _ := c.Extension("STARTTLS"); ok && !m.implicit {
		if err := c.StartTLS(m.tls()); err != nil {
			return err
		}
	} else if m.starttls && !m.implicit {
		return errors.New("server offers no STARTTLS, so nothing was sent")
	}
	if password, ok := m.url.User.Password(); ok {
		if err := c.Auth(smtp.PlainAuth("", m.url.User.Username(), password, m.url.Hostname())); err != nil {
			return err
		}
	}
	if err := c.Mail(m.from.Address); err != nil {
		return err
	}
	for _, to := range m.to {
		if err := c.Rcpt(to.Address); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(m.mail(msg)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_ = c.Quit() // the mail has been taken
	return nil
}

// tls is the configuration of the shared client, for this server.
func (m *mailer) tls() *tls.Config {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if t, ok := m.client.Transport.(*http.Transport); ok && t.TLSClientConfig != nil {
		cfg = t.TLSClientConfig.Clone()
	}
	cfg.ServerName, cfg.NextProtos = m.url.Hostname(), nil
	return cfg
}

// mail returns the message with its header. Nothing from outside reaches a header
// line unencoded.
func (m *mailer) mail(msg *Message) []byte {
	literal := style{escape: oneLine, size: characters} // mail calls nobody
	to := make([]string, len(m.to))
	for i := range m.to {
		to[i] = m.to[i].String()
	}
	var b strings.Builder
	for _, field := range [][2]string{
		{"From", m.from.String()},
		{"To", strings.Join(to, ", ")},
		{"Subject", mime.BEncoding.Encode("utf-8", msg.title(literal, 200))},
		{"Date", msg.Time.Format(time.RFC1123Z)},
		{"Message-ID", fmt.Sprintf("<%s@%s>", rand.Text(), "caddy-ai-gateway.invalid")},
		{"Auto-Submitted", "auto-generated"},
		{"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"},
		{"Content-Transfer-Encoding", "base64"},
	} {
		b.WriteString(field[0] + ": " + field[1] + "\r\n")
	}
	b.WriteString("\r\n")
	text := base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(msg.text(literal), "\n", "\r\n") + "\r\n"))
	for len(text) > 76 {
		b.WriteString(text[:76] + "\r\n")
		text = text[76:]
	}
	b.WriteString(text + "\r\n")
	return []byte(b.String())
}

// mailFailure returns what an error of the conversation means: a 5xx is for good.
func mailFailure(server string, err error) *failure {
	f := &failure{text: "mail by " + server, err: err}
	if reply, ok := errors.AsType[*textproto.Error](err); ok {
		f.err = nil
		f.text += fmt.Sprintf(": %d %s", reply.Code, shorten(oneLine(reply.Msg), 200))
		f.permanent = reply.Code/100 == 5
	}
	return f
}
