// No search: it would need a worker made of a blob, which the page's policy does not allow.
window.addEventListener("DOMContentLoaded", () => {
  window.Redoc.init(
    "/openapi.json",
    { disableSearch: true, hideDownloadButton: false, expandResponses: "200,201" },
    document.getElementById("redoc"),
  );
});
