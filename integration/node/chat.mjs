// Chats with a gateway through OpenAI's client, as the README shows it:
//
//	node chat.mjs http://127.0.0.1:9999/v1
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "EMPTY", maxRetries: 0 });
const messages = [{ role: "user", content: "good morning to all of you" }];

const plain = await client.chat.completions.create({ model: "echo", messages });
console.log("plain:", plain.choices[0].message.content);

const stream = await client.chat.completions.create({ model: "echo", messages, stream: true });
let text = "";
let pieces = 0;
for await (const chunk of stream) {
  const piece = chunk.choices[0]?.delta.content;
  if (piece) {
    text += piece;
    pieces++;
  }
}
console.log(`stream: ${text} (${pieces} pieces)`);

const models = [];
for await (const model of client.models.list()) {
  models.push(model.id);
}
console.log("models:", models.join(", "));

try {
  await client.chat.completions.create({ model: "unknown", messages });
} catch (error) {
  if (!(error instanceof OpenAI.NotFoundError)) {
    throw error;
  }
  console.log("unknown model:", error.status, error.code);
}
