// How the search of the site ranks pages: Sphinx's own numbers, but for who looks for an error.
// A message's words are on many pages; the page of messages and the start page have the fix.
var Scorer = {
  score: ([docname, title, anchor, descr, score]) => {
    const query = new URLSearchParams(window.location.search).get("q") || "";
    const isMessage =
      /can(no|')?t\s+(pickle|create)|serializ|error\b|weakly-ref|(reference|proxy)type|weak\w*proxy/i;
    if (!isMessage.test(query)) return score;
    if (docname === "how-to/error-messages") return score + 200;
    return docname === "index" ? score + 100 : score;
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
