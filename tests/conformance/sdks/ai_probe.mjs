// Functions on the unmodified npm SDK that ask models; the adapters are its own. The provider's URL comes with the event.
import { createServer } from "node:http";
import { createRequire } from "node:module";

const require = createRequire(new URL("../../../examples/typescript/package.json", import.meta.url));
const { Inngest, anthropic, gemini, openai } = require("inngest");
const { serve } = require("inngest/node");

const client = new Inngest({ id: "ai" });
const messages = [{ role: "user", content: "Hello you" }];

function adapter({ kind, url }) {
  const options = { model: "sample", apiKey: "sk-npm", baseUrl: url };
  if (kind === "anthropic") return anthropic({ ...options, defaultParameters: { max_tokens: 9 } });
  return kind === "gemini" ? gemini(options) : openai(options);
}

const infer = client.createFunction(
  { id: "infer", triggers: [{ event: "ai/infer" }], retries: 1 },
  async ({ event, step }) => {
    const { kind, url } = event.data;
    const body = kind === "gemini" ? { contents: [{ role: "user", parts: [{ text: "Hello you" }] }] } : { messages };
    try {
      const found = await step.ai.infer("ask", { model: adapter(event.data), body });
      return { found, next: await step.run("after", () => "went on") };
    } catch (error) {
      return { name: error.name, message: error.message };
    }
  },
);

const server = createServer(serve({ client, functions: [infer] }));
server.listen(0, "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
