/** One reply of a held-out chat, read token by token by base and tuned model: a line of chats.jsonl. */
export interface ChatRecord {
  id: string;
  chat: string;
  /** the user's turn */
  user: string;
  /** index of the reply */
  reply: number;
  condition: string;
  /** positions compared: what opens the reply, and what follows each of its tokens */
  positions: number;
  /** mean over the positions of KL(base || tuned) over the whole vocabulary, nats */
  divergence: number;
  /** largest of them */
  largest: number;
  /** positions at which the likeliest token is another */
  topChanges: number;
  adapterHash: string | null;
  modelHash: string;
}
