// Every feature of the function model, for the official npm SDK of version 4 and 3 alike: `node features_app.mjs inngest-v3`,
// from a folder with node_modules.

import http from "node:http";
import { createRequire } from "node:module";

const require = createRequire(process.cwd() + "/");
const name = process.argv[2];
const { Inngest, NonRetriableError, StepError, referenceFunction } = require(name);
const { serve } = require(`${name}/node`);

const client = new Inngest({ id: "f" });
const ran = [];
const note = (text) => (ran.push(text), text);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const events = (...names) => names.map((event) => ({ event }));

function fn(id, config, body, triggers = events(`f/${id}`)) {
  const options = { id, retries: 1, ...config };
  if (name === "inngest-v3") return client.createFunction(options, triggers, body);
  return client.createFunction({ ...options, triggers }, body);
}

const child = fn("child", {}, async ({ event, step }) => {
  if (event.data.bad) throw new NonRetriableError("a bad child");
  if (event.data.slow) await step.sleep("slow", "20s");
  return { twice: await step.run("twice", () => event.data.n * 2) };
});

const steps = [
  child,
  fn("waits", {}, async ({ step }) => {
    const found = await step.waitForEvent("reply", {
      event: "f/reply",
      timeout: "30s",
      if: "async.data.to == event.data.me",
    });
    return found.data.text;
  }),
  fn("waits-in-vain", {}, async ({ step }) => step.waitForEvent("never", { event: "f/never", timeout: "1s" })),
  fn("signalled", {}, async ({ event, step }) => {
    const signal = await step.waitForSignal("signal", { signal: event.data.signal, timeout: event.data.timeout });
    return signal && signal.data;
  }),
  fn("signals", {}, async ({ event, step }) => {
    await step.sendSignal("send", { signal: event.data.signal, data: { text: "hello" } });
  }),
  fn("invokes", {}, async ({ step }) => {
    const object = await step.invoke("object", { function: child, data: { n: 2 } });
    const byId = await step.invoke("by id", {
      function: referenceFunction({ appId: "f", functionId: "child" }),
      data: { n: 3 },
    });
    return [object.twice, byId.twice];
  }),
  fn("invokes-badly", {}, async ({ event, step }) => {
    try {
      await step.invoke("child", { function: child, data: event.data, timeout: "1s" });
    } catch (problem) {
      return [problem instanceof StepError || problem.name, problem.message];
    }
    return "not raised";
  }),
  fn("sends", {}, async ({ step }) => {
    const sent = await step.sendEvent("send", [
      { name: "f/sent", data: { n: 1 } },
      { name: "f/sent", data: { n: 2 } },
    ]);
    return sent.ids.length;
  }),
  fn("sent", {}, async ({ event }) => note(`sent ${event.data.n}`)),
  fn("until", {}, async ({ step }) => {
    const at = await step.run("when", () => Date.now() + 1500);
    await step.sleepUntil("until", new Date(at));
    return Date.now() - at;
  }),
  fn("races", {}, async ({ group, step }) => {
    const race = () =>
      Promise.race([step.run("quick", () => "quick"), step.sleep("slow", "30s").then(() => "slow")]);
    return group?.parallel ? group.parallel({ mode: "race" }, race) : race();
  }),
  fn("settles", {}, async ({ step }) => {
    const found = await Promise.allSettled([
      step.run("good", () => 1),
      step.run("bad", () => {
        throw new NonRetriableError("no");
      }),
    ]);
    return found.map((each) => each.status);
  }),
];

const triggers = [
  fn("wild", {}, async ({ event }) => event.name, events("f/wild.*")),
  fn("some", {}, async ({ event }) => note(`some ${event.data.n}`), [
    { event: "f/some", if: "event.data.n > 1" },
    { event: "f/other" },
  ]),
  fn("cron", {}, async () => note("cron"), [{ cron: "TZ=Europe/Berlin * * * * *" }]),
];

const flow = [
  fn("throttled", { throttle: { limit: 1, period: "1s" } }, async ({ event }) => note(`${Date.now()} ${event.data.n}`)),
  fn("rated", { rateLimit: { limit: 2, period: "1h", key: "event.data.user" } }, async ({ event }) =>
    note(`rated ${event.data.user}`),
  ),
  fn("debounced", { debounce: { period: "1s", key: "event.data.user" } }, async ({ event }) =>
    note(`debounced ${event.data.n}`),
  ),
  fn("batched", { batchEvents: { maxSize: 3, timeout: "2s" } }, async ({ events }) => events.map((each) => each.data.n)),
  fn("once", { idempotency: "event.data.order" }, async ({ event }) => note(`once ${event.data.order}`)),
  fn("single", { singleton: { mode: "skip", key: "event.data.user" } }, async ({ step }) => {
    await step.sleep("busy", "3s");
  }),
  fn("newest", { singleton: { mode: "cancel" } }, async ({ event, step }) => {
    await step.sleep("busy", event.data.long ? "30s" : "1s");
    return event.data.n;
  }),
  fn("important", { priority: { run: "event.data.n" }, concurrency: 1 }, async ({ event }) => {
    note(`important ${event.data.n}`);
    await pause(event.data.n < 0 ? 500 : 5);
  }),
  fn("by-key", { concurrency: [{ limit: 1, key: "event.data.user" }, { limit: 2 }] }, async ({ event }) => {
    note(`begin ${event.data.user}`);
    await pause(100);
    note(`end ${event.data.user}`);
  }),
];

const ends = [
  fn("cancelled", { cancelOn: [{ event: "f/cancel", if: "async.data.n == event.data.n" }] }, async ({ step }) => {
    await step.sleep("long", "30s");
  }),
  fn("too-long", { timeouts: { finish: "1s" } }, async ({ step }) => {
    await step.sleep("long", "30s");
  }),
  fn("too-late", { concurrency: 1, timeouts: { start: "1s" } }, async () => pause(2500)),
  fn(
    "fails",
    {
      retries: 0,
      onFailure: async ({ error, event, step }) => {
        await step.run("note", () => note(`failed: ${error.message} of ${event.data.event.data.n}`));
      },
    },
    async () => {
      throw new Error("broken");
    },
  ),
  fn("finished", {}, async ({ event }) => note(`finished ${event.data.function_id} ${event.data._inngest.status}`), [
    { event: "inngest/function.finished", if: "event.data.function_id == 'f-child'" },
  ]),
  fn("clean-up", {}, async ({ event }) => note(`cleaned up after ${event.data.event.data.n}`), [
    { event: "inngest/function.cancelled", if: "event.data.function_id == 'f-cancelled'" },
  ]),
];

const handler = serve({ client, functions: [...steps, ...triggers, ...flow, ...ends] });
const server = http.createServer((request, response) => {
  const path = new URL(request.url, "http://h").pathname;
  return path === "/ran" ? response.end(JSON.stringify({ ran })) : handler(request, response);
});
server.listen(0, "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
