// Races on the unmodified npm SDK: of steps, sleeps and waits, with its default (checkpoints) and without.
import { createServer } from "node:http";
import { createRequire } from "node:module";

const require = createRequire(new URL("../../../examples/typescript/package.json", import.meta.url));
const { Inngest } = require("inngest");
const { serve } = require("inngest/node");

const ran = [];
const note = (name) => (ran.push(name), name);

function app(id, options) {
  const client = new Inngest({ id, ...options });
  const fn = (name, body) =>
    client.createFunction({ id: name, triggers: [{ event: `${id}/${name}` }], retries: 1 }, body);
  const said = (name) => note(`${id}:${name}`);
  return {
    client,
    functions: [
      fn("run-wins", async ({ step, group }) => {
        const first = await group.parallel(() =>
          Promise.race([step.sleep("long", "1h").then(() => "slept"), step.run("work", () => said("work"))]),
        );
        return [first, await step.run("after", () => said("after"))];
      }),
      fn("sleep-wins", async ({ step, group }) => {
        const first = await group.parallel({ mode: "race" }, () =>
          Promise.race([
            step.sleep("short", "1s").then(() => "slept"),
            step.waitForEvent("never", { event: "never", timeout: "1h" }).then(() => "met"),
          ]),
        );
        return [first, await step.run("after", () => said("after"))];
      }),
      fn("runs", async ({ step, group }) => {
        const first = await group.parallel(() =>
          Promise.race([step.run("a", () => said("a")), step.run("b", () => said("b"))]),
        );
        return [first, await step.run("after", () => said("after"))];
      }),
      fn("plain-run-wins", async ({ step }) => {
        const first = await Promise.race([
          step.sleep("long", "2s").then(() => "slept"),
          step.run("work", () => said("work")),
        ]);
        return [first, await step.run("after", () => said("after"))];
      }),
      fn("plain-ends", async ({ step }) =>
        Promise.race([step.sleep("long", "2s").then(() => "slept"), step.run("work", () => said("work"))]),
      ),
      fn("race-ends", async ({ step, group }) =>
        group.parallel(() =>
          Promise.race([step.sleep("long", "1h").then(() => "slept"), step.run("work", () => said("work"))]),
        ),
      ),
      fn("any-fails", async ({ step, group }) =>
        group.parallel(() =>
          Promise.any([
            step.run("bad", () => {
              throw new Error("no");
            }),
            step.run("good", () => said("good")),
          ]),
        ),
      ),
    ],
  };
}

const apps = {
  "/api/inngest": serve(app("node")),
  "/api/plain": serve(app("plain", { checkpointing: false })),
  "/api/one": serve(app("one", { checkpointing: false, optimizeParallelism: false })),
};

const server = createServer((request, response) => {
  const path = new URL(request.url, "http://h").pathname;
  if (path === "/ran") return response.end(JSON.stringify({ ran }));
  return apps[path] ? apps[path](request, response) : response.writeHead(404).end();
});
server.listen(0, "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
