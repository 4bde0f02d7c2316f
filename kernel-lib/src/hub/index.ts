/** Models and adapters by folder or hub name, through the hub's own cache. */
export { type HubEnvironment, hubEnvironment } from "./environment";
export { type ResolveOptions, resolveAdapter, resolveModel } from "./resolve";
