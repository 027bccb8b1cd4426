// The official client reads along: what it got is printed, a line of JSON each. What it publishes is asked for on standard
// input. Run from a folder with node_modules.

import { createInterface } from "node:readline";
import { createRequire } from "node:module";

const require = createRequire(process.cwd() + "/");
const { Inngest } = require("inngest");
const { channel, subscribe } = require("inngest/realtime");

const inngest = new Inngest({ id: "probe", isDev: true, baseUrl: process.argv[2] });
const order = channel({ name: (id) => `order/${id}`, topics: { progress: {} } });
const one = order("1");

const show = (value) => console.log(JSON.stringify(value));
await subscribe({
  app: inngest,
  channel: one,
  topics: ["progress"],
  onMessage: ({ createdAt, ...rest }) => show({ ...rest, dated: createdAt instanceof Date }),
});
show("ready");

const commands = {
  publish: () => inngest.realtime.publish(one.progress, { done: 1 }),
  text: () => inngest.realtime.publish(one.progress, "words"),
  leave: () => process.exit(0),
};
for await (const line of createInterface({ input: process.stdin })) await commands[line]();
