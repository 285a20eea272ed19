package alert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// telegram is a bot that writes to chats: telegram://TOKEN@telegram?chats=@name,-100123,
// with :THREAD behind a chat for one of its topics.
type telegram struct {
	*address
	endpoint string
	chats    []string
}

// telegramLimit is that of a message in UTF-16 units, title included.
const telegramLimit = 4096

func newTelegram(a *address) (channel, error) {
	id := a.url.User.Username()
	token, ok := a.url.User.Password()
	if id == "" || !ok || token == "" || strings.ContainsAny(id+token, "/?#") {
		return nil, errors.New("missing token, want telegram://123456:TOKEN@telegram?chats=-100123")
	}
	chats := a.query.Get("chats")
	if chats == "" {
		chats = a.query.Get("channels")
	}
	t := &telegram{address: a, endpoint: on(a.host("api.telegram.org"), "bot"+id+":"+token, "sendMessage").String()}
	for chat := range strings.SplitSeq(chats, ",") {
		if chat = strings.TrimSpace(chat); chat == "" {
			continue
		}
		if _, thread, ok := strings.Cut(chat, ":"); ok && (thread == "" || strings.Trim(thread, "0123456789") != "" || thread[0] == '0') {
			return nil, errors.New("want the number of a topic behind a chat and its colon, such as -100123:7")
		}
		t.chats = append(t.chats, chat)
	}
	if len(t.chats) == 0 || len(t.chats) > 10 {
		return nil, fmt.Errorf("got %d chats, want 1 to 10 in ?chats=", len(t.chats))
	}
	return t, nil
}

func (t *telegram) send(ctx context.Context, m *Message) (string, error) {
	s := style{escape: defuse, size: utf16Size}
	title := m.title(s, 500)
	s.limit = telegramLimit - s.size(title) - 1
	said := ""
	for _, chat := range t.chats {
		// Without parse_mode the text is shown as it is.
		body := map[string]any{"chat_id": chat, "text": title + "\n" + m.text(s), "link_preview_options": map[string]any{"is_disabled": true}}
		if name, thread, ok := strings.Cut(chat, ":"); ok {
			body["chat_id"], body["message_thread_id"] = name, json.Number(thread)
		}
		a, err := post(ctx, t.client, t.endpoint, nil, body)
		if err != nil {
			return "", t.explain(a, err)
		}
		var result struct{ OK bool }
		if json.Unmarshal(a.body, &result) != nil || !result.OK {
			return "", &failure{text: a.String() + ", but the answer does not say ok"}
		}
		said = a.String() + ", ok true"
	}
	return said, nil
}

// explain adds to an error how long Telegram wants to be left alone.
func (t *telegram) explain(a *answer, err error) error {
	f, ok := errors.AsType[*failure](err)
	if !ok || a == nil {
		return err
	}
	var said struct {
		Parameters struct {
			RetryAfter int64 `json:"retry_after"`
		}
	}
	if json.Unmarshal(a.body, &said) == nil && said.Parameters.RetryAfter > 0 {
		f.rest = min(time.Duration(min(said.Parameters.RetryAfter, int64(longest/time.Second)))*time.Second, longest)
	}
	return f
}
