// Asks for answers that break, through OpenAI's client, and tells what a program
// notices of it:
//
//	node faults.mjs http://127.0.0.1:9999/v1 none reset_mid eof_mid
//
// The words behind the URL are faults of echo_model; a word with a slash, such as
// model/cut, is a model that breaks by itself.
import OpenAI from "openai";

const [baseURL, ...faults] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "EMPTY", maxRetries: 0 });
const text = "one two three four five six seven eight";
const messages = [{ role: "user", content: text }];

const apis = {
  chat: (params) => client.chat.completions.create({ messages, ...params }),
  completions: (params) => client.completions.create({ prompt: text, ...params }),
  responses: (params) => client.responses.create({ input: text, ...params }),
};

// pieceOf returns what an event or answer says, in any of the three.
function pieceOf(event) {
  const choice = event.choices?.[0];
  return choice?.delta?.content ?? choice?.message?.content ?? choice?.text ?? event.delta ?? event.output_text ?? "";
}

// attempt returns what came of an answer: its text if it ended as if it were
// whole, else where the exception was raised.
async function attempt(api, params) {
  let got = "";
  let where = "at once";
  try {
    const answer = await apis[api](params);
    if (!params.stream) {
      return pieceOf(answer);
    }
    where = "while iterating";
    for await (const event of answer) {
      got += pieceOf(event);
    }
  } catch (error) {
    if (!(error instanceof Error)) {
      throw error;
    }
    return `${error instanceof OpenAI.APIError ? "APIError" : "Error"} ${where} after "${got.trim()}"`;
  }
  return got;
}

for (const fault of faults) {
  const params = fault.startsWith("model/")
    ? { model: fault.slice("model/".length) }
    : { model: "echo", echo: { fault, after: 7, itl: "1ms" } };
  for (const api of Object.keys(apis)) {
    for (const stream of [true, false]) {
      console.log(`${fault} ${api} ${stream ? "stream" : "plain"}: ${await attempt(api, { ...params, stream })}`);
    }
  }
}
