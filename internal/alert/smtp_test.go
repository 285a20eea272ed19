package alert

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/mail"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"
)

// mailServer is an SMTP server that speaks STARTTLS, or TLS at once, and keeps what
// it gets.
type mailServer struct {
	t        *testing.T
	listener net.Listener
	tls      *tls.Config
	implicit bool
	noTLS    bool
	refuses  string // what it says to RCPT
	hangs    bool   // it greets nobody

	mu    sync.Mutex
	auth  string // user and password
	to    []string
	mails []string
	wg    sync.WaitGroup
}

func newMailServer(t *testing.T, cfg *tls.Config, change func(*mailServer)) *mailServer {
	s := &mailServer{t: t, tls: cfg}
	change(s)
	var err error
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	s.wg.Go(func() {
		for {
			conn, err := s.listener.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() { s.listener.Close(); s.wg.Wait() })
	return s
}

func (s *mailServer) serve(conn net.Conn) {
	defer func() { conn.Close() }()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if s.hangs {
		io.Copy(io.Discard, conn)
		return
	}
	if s.implicit {
		conn = tls.Server(conn, s.tls)
	}
	secure := s.implicit
	r := bufio.NewReader(conn)
	say := func(text string) { io.WriteString(conn, text+"\r\n") }
	say("220 mail.example ESMTP")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSpace(line)
		s.mu.Lock()
		switch verb, rest, _ := strings.Cut(line, " "); strings.ToUpper(verb) {
		case "EHLO":
			say("250-mail.example")
			if !secure && !s.noTLS {
				say("250-STARTTLS")
			}
			say("250 AUTH PLAIN")
		case "STARTTLS":
			say("220 go ahead")
			conn = tls.Server(conn, s.tls)
			r = bufio.NewReader(conn)
			secure = true
		case "AUTH":
			text, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(rest, "PLAIN "))
			if s.auth = string(text); !secure || s.auth != "\x00bob\x00mailpassword" {
				say("535 5.7.8 wrong")
			} else {
				say("235 ok")
			}
		case "MAIL":
			say("250 ok")
		case "RCPT":
			if s.refuses != "" {
				say(s.refuses)
			} else {
				s.to = append(s.to, rest)
				say("250 ok")
			}
		case "DATA":
			say("354 go ahead")
			var text strings.Builder
			for {
				line, err := r.ReadString('\n')
				if err != nil || line == ".\r\n" {
					break
				}
				text.WriteString(line)
			}
			s.mails = append(s.mails, text.String())
			say("250 2.0.0 queued")
		case "QUIT":
			say("221 bye")
			s.mu.Unlock()
			return
		default:
			say("500 what?")
		}
		s.mu.Unlock()
	}
}

// Mail arrives by STARTTLS with a password, by TLS at once, and without either; what
// is in names reaches no header line.
func TestMail(t *testing.T) {
	robots := newRobots(t)
	robots.client.Transport.(*http.Transport).TLSClientConfig.ServerName = ""
	cfg := &tls.Config{Certificates: robots.server.TLS.Certificates}
	f := func(url string, change func(*mailServer), want string) *mailServer {
		t.Helper()
		s := newMailServer(t, cfg, change)
		receiver := Receiver{URL: strings.ReplaceAll(url, "HOST", s.listener.Addr().String())}
		said, err := robots.send(receiver, sample(chinese))
		if err != nil {
			said = err.Error()
		}
		if !strings.Contains(said, want) || strings.Contains(said, "mailpassword") {
			t.Errorf("%s: got %q, want %q", url, said, want)
		}
		return s
	}
	const query = "/?from=gw@example.com&to=ops@example.com,boss@example.com"
	s := f("smtp://bob:mailpassword@HOST"+query, func(*mailServer) {}, "250")
	if len(s.mails) != 1 || len(s.to) != 2 || s.to[1] != "TO:<boss@example.com>" {
		t.Fatalf("got %d mails to %q, want one to both", len(s.mails), s.to)
	}
	m, err := mail.ReadMessage(strings.NewReader(s.mails[0]))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil || !strings.HasPrefix(subject, "[严重] 实例已摘除 ×61") || len(m.Header) != 9 {
		t.Errorf("header: got %q, %v of %v, want the title and nothing injected", subject, err, m.Header)
	}
	text, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, m.Body))
	if err != nil || !strings.Contains(string(text), "gpu-1 *bold*") || strings.Contains(string(text), "canary") {
		t.Errorf("text: got %q, %v, want the message", text, err)
	}
	for line := range strings.SplitSeq(s.mails[0], "\r\n") {
		if len(line) > 998 {
			t.Errorf("a line of %d bytes, want 998 at most", len(line))
		}
	}
	f("smtps://bob:mailpassword@HOST"+query, func(s *mailServer) { s.implicit = true }, "250")
	f("smtp://HOST"+query, func(s *mailServer) { s.noTLS = true }, "250")
	f("smtp://bob:mailpassword@HOST"+query, func(s *mailServer) { s.noTLS = true }, "no STARTTLS")
	f("smtp://bob:wrong-password@HOST"+query, func(*mailServer) {}, "535")
	f("smtp://HOST"+query, func(s *mailServer) { s.refuses = "550 no such user" }, "550 no such user")
	f("smtp://HOST"+query, func(s *mailServer) { s.refuses = "451 later" }, "451 later")
	// A 5xx is for good, a 4xx for now.
	for err, permanent := range map[error]bool{
		errors.New("EOF"): false, &textproto.Error{Code: 451, Msg: "later"}: false, &textproto.Error{Code: 550, Msg: "no"}: true,
	} {
		if f := mailFailure("x", err); f.permanent != permanent {
			t.Errorf("%v: got permanent %v, want %v", err, f.permanent, permanent)
		}
	}
	// A certificate that nobody signed.
	robots.client.Transport.(*http.Transport).TLSClientConfig.RootCAs = nil
	if s := f("smtp://bob:mailpassword@HOST"+query, func(*mailServer) {}, "certificate"); s.auth != "" || len(s.mails) > 0 {
		t.Errorf("to a server that cannot be trusted: got %q and %d mails sent, want nothing", s.auth, len(s.mails))
	}
	// Nobody speaks.
	began := time.Now()
	silent := newMailServer(t, cfg, func(s *mailServer) { s.hangs = true })
	ch, _, err := (&Receiver{URL: "smtp://" + silent.listener.Addr().String() + query}).channel(robots.client)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := contextWithTimeout(t, 100*time.Millisecond)
	defer cancel()
	if _, err := ch.send(ctx, sample(english)); err == nil || time.Since(began) > 5*time.Second {
		t.Errorf("silent server: got %v after %v, want an error soon", err, time.Since(began))
	}
}
