"""A page as its reader finds it, and whether its tags are in order."""

from html.parser import HTMLParser

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class Page(HTMLParser):
    """Text, tags and attributes of a page; scripts and styles left out of the text.

    Attributes:
        text: what is read, with single spaces.
        tags: (tag, attributes) in order.
        misplaced: end tags that close nothing or the wrong tag, and tags that nothing closes.
    """

    def __init__(self, html):
        super().__init__()
        self.tags, self.misplaced, self._parts, self._open = [], [], [], []
        self.feed(html)
        self.close()
        self.text = " ".join(" ".join(self._parts).split())
        self.misplaced += self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if self._open[-1:] == [tag]:
            self._open.pop()
        else:
            self.misplaced.append(f"/{tag} in {self._open[-1:]}")

    def handle_data(self, data):
        if not {"script", "style"} & set(self._open[-1:]):
            self._parts.append(data)

    def all(self, tag):
        """The attributes of each such tag."""
        return [attrs for name, attrs in self.tags if name == tag]

    def requests(self):
        """Whatever the page would ask for outside itself."""
        links = [attrs.get(key, "") for _, attrs in self.tags for key in ("src", "href") if key in attrs]
        return [link for link in links if not link.startswith(("data:", "#"))]
