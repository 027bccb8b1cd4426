// What the functions share: the Inngest client, unmodified, and where the sample API listens.
import { Inngest } from "inngest";

/** INNGEST_DEV=http://127.0.0.1:8288 in the environment points the client at Stepwell. */
export const inngest = new Inngest({ id: "examples-ts" });

export const SAMPLE_API = process.env.SAMPLE_API ?? "http://127.0.0.1:8300";
