package echomodel

import (
	"context"

	"github.com/coder/websocket"
)

// maxFrame bounds a WebSocket message, in bytes.
const maxFrame = 16 << 20

// serveRealtime answers /v1/realtime: every message comes back as it went, until the client closes.
func serveRealtime(x *exchange) error {
	conn, err := websocket.Accept(x.w, x.r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // any Origin may talk to a stand-in
		Subprotocols:       []string{"realtime"},
	})
	if err != nil {
		return errCut // Accept has answered
	}
	defer conn.CloseNow() //nolint:errcheck // after a proper end there is nothing left to close
	conn.SetReadLimit(maxFrame)
	// Once the connection is taken, the server no longer watches it: reading does.
	ctx, cancel := context.WithCancel(x.ctx)
	defer cancel()
	defer context.AfterFunc(x.s.closed, cancel)()
	for {
		kind, message, err := conn.Read(ctx)
		if err == nil {
			err = conn.Write(ctx, kind, message)
		}
		if err != nil {
			return realtimeEnd(err)
		}
	}
}

// realtimeEnd tells a client that closes as it should from one that is gone.
func realtimeEnd(err error) error {
	status := websocket.CloseStatus(err)
	if status == websocket.StatusNormalClosure || status == websocket.StatusGoingAway || status == websocket.StatusNoStatusRcvd {
		return nil
	}
	return errGone
}
