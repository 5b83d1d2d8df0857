"""The page a person looks at: `report.html`, and its figures as PNG. It never changes a corpus."""
