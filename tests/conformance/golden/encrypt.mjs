// The official npm encryption, unmodified: reads lines of {"key", "encrypt"} or {"key", "decrypt"}, writes what came of each.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(new URL("../../../examples/typescript/package.json", import.meta.url));
const { LibSodiumEncryptionService } = require("@inngest/middleware-encryption/strategies/libSodium");

for await (const line of createInterface({ input: process.stdin })) {
  const { key, encrypt, decrypt } = JSON.parse(line);
  const service = new LibSodiumEncryptionService(key);
  const found = decrypt === undefined ? await service.encrypt(encrypt) : await service.decrypt(decrypt);
  console.log(JSON.stringify({ strategy: service.identifier, found }));
}
